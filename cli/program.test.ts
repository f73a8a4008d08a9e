import { type Command, CommanderError } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { commandsFor } from './commands.ts';
import { nameOf, shoesVz, withSubcommands } from './program.ts';

const wholeProgram = async (): Promise<Command> => shoesVz(await commandsFor([]));
const commands = withSubcommands(await wholeProgram()).map((command) => [nameOf(command), command] as const);

/** What a person who is no developer of ours should never meet. */
const INTERNALS = /\.ts\b|node:|node_modules|\bat .*:\d+:\d+|\bstack\b|TypeError|undefined|\[object/;

afterEach(() => {
  vi.unstubAllEnvs();
});

/** Parses with the named command's action replaced: what it would have been called with, or how it failed. */
async function parse(line: string) {
  const program = await wholeProgram();
  const seen: Record<string, unknown>[] = [];
  let stderr = '';
  for (const command of withSubcommands(program)) {
    if (command.commands.length === 0) command.action((options) => void seen.push(options));
    const configuration = command.configureOutput();
    const writeErr = (text: string): void => {
      stderr += text;
    };
    command.configureOutput({ ...configuration, writeErr });
  }
  const failure = await program.parseAsync(line.split(' ').filter(Boolean), { from: 'user' }).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { options: seen[0], failure, stderr };
}

describe.each(commands)('%s --help', (_, command: Command) => {
  const help = command.helpInformation();

  it('says what it does in a sentence', () => {
    expect(command.description()).toMatch(/^[A-Z].*\.$/);
    expect(help).not.toMatch(INTERNALS);
  });

  it('lists each flag with its description and environment variable', () => {
    for (const option of command.options) {
      const variable = `SHOESVZ_${option.long?.slice(2).replaceAll('-', '_').toUpperCase()}`;
      expect(option.description, option.flags).not.toBe('');
      expect(option.envVar).toBe(variable);
      expect(help).toContain(option.flags);
      expect(help.replace(/\s+/g, ' ')).toContain(`env: ${variable})`);
    }
  });

  it('lists its subcommands', () => {
    for (const { name } of command.commands.map((one) => ({ name: one.name() }))) {
      expect(help).toMatch(new RegExp(`^ +${name}\\b`, 'm'));
    }
  });

  it('is an end without failure', async () => {
    const log = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const failure = await (await wholeProgram())
      .parseAsync([...nameOf(command).split(' ').slice(1), '--help'], { from: 'user' })
      .catch((error: unknown) => error);
    log.mockRestore();
    expect(failure).toBeInstanceOf(CommanderError);
    expect(failure).toMatchObject({ exitCode: 0 });
  });
});

describe('a wrong command line', () => {
  it.each([
    ['frobnicate', "shoes-vz: unknown command 'frobnicate' (see shoes-vz --help)"],
    ['template frob', "shoes-vz: unknown command 'frob' (see shoes-vz template --help)"],
    ['template build frob', "shoes-vz: unknown command 'frob' (see shoes-vz template build --help)"],
    [
      'up --api-prot 1',
      "shoes-vz: unknown option '--api-prot' (Did you mean --api-port?) (see shoes-vz up --help)",
    ],
    [
      'up now',
      "shoes-vz: too many arguments for 'up'. Expected 0 arguments but got 1: now. (see shoes-vz up --help)",
    ],
    ['down --timeout', "shoes-vz: option '--timeout <seconds>' argument missing (see shoes-vz down --help)"],
    [
      'up --api-port 70000',
      "shoes-vz: option '--api-port <port>' argument '70000' is invalid. It has to be an integer from 1 to 65535. (see shoes-vz up --help)",
    ],
    [
      'up --placement anywhere',
      "shoes-vz: option '--placement <policy>' argument 'anywhere' is invalid. Allowed choices are spread, pack. (see shoes-vz up --help)",
    ],
    [
      'controller --metrics-address nowhere.example',
      "shoes-vz: option '--metrics-address <address>' argument 'nowhere.example' is invalid. It has to be an IP address of this machine, such as 127.0.0.1. (see shoes-vz controller --help)",
    ],
    ...['Not_A_Name', 'node/x', 'a/b/c'].map((name): [string, string] => [
      `drain ${name}`,
      `shoes-vz: command-argument value '${name}' is invalid for argument 'host'. It has to be the name of a host, of lower-case letters, digits, "-" and ".", or machost/NAME or linuxhost/NAME. (see shoes-vz drain --help)`,
    ]),
    ['uncordon', "shoes-vz: missing required argument 'host' (see shoes-vz uncordon --help)"],
    ...['soon', '-1', '200h', '1.5h'].map((text): [string, string] => [
      `drain x --timeout=${text}`,
      `shoes-vz: option '--timeout <duration>' argument '${text}' is invalid. It has to be a duration such as 90s, 5m or 1h30m, at most 168h, or 0 for ever. (see shoes-vz drain --help)`,
    ]),
  ])('%s: is one line that says what would be right', async (line, complaint) => {
    const { failure, stderr } = await parse(line);
    expect(failure).toBeInstanceOf(CommanderError);
    expect(stderr).toBe(`${complaint}\n`);
  });

  it.each(['', '.', 'a/b', 'Upper', 'a..b', '-a', 'x'.repeat(300)])(
    '%o is no name for a template',
    async (name) => {
      const program = await wholeProgram();
      const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
      const failure = await program
        .parseAsync(['template', 'build', 'linux', `--name=${name}`], { from: 'user' })
        .catch((error: unknown) => error);
      const written = stderr.mock.calls.map(([text]) => String(text)).join('');
      stderr.mockRestore();
      expect(failure).toMatchObject({ code: 'commander.invalidArgument' });
      expect(written).toMatch(/^shoes-vz: option '--name <name>' .*\n$/);
    },
  );
});

describe('commandsFor', () => {
  const namesFor = async (...args: string[]) => (await commandsFor(args)).map((command) => command.name());

  it('loads the command that is named, and all where none is', async () => {
    for (const name of await namesFor()) expect(await namesFor(name, '--help')).toEqual([name]);
    expect(await namesFor('--help')).toEqual(await namesFor());
    expect(await namesFor('constructor')).toEqual(await namesFor());
  });
});

describe('a timeout', () => {
  it.each([
    ['0', Number.POSITIVE_INFINITY],
    ['0s', Number.POSITIVE_INFINITY],
    ['90', 90_000],
    ['1h30m', 5_400_000],
  ])('of %s is understood', async (text, ms) => {
    const program = await wholeProgram();
    const drain = program.commands.find((command) => command.name() === 'drain');
    let timeout: unknown = 'not called';
    drain?.action((_, options) => {
      timeout = options.timeout;
    });
    await program.parseAsync(['drain', 'x', '--timeout', text], { from: 'user' });
    expect(timeout).toBe(ms);
  });
});

describe('environment variables', () => {
  it('stand in for flags, which win', async () => {
    vi.stubEnv('SHOESVZ_API_PORT', '7001');
    vi.stubEnv('SHOESVZ_PLACEMENT', 'pack');
    expect((await parse('up --api-port 7002')).options).toMatchObject({ apiPort: 7002, placement: 'pack' });
  });

  it('are named when they are wrong', async () => {
    vi.stubEnv('SHOESVZ_HOST_NAME', 'Not_A_Name');
    const { failure, stderr } = await parse('node-daemon');
    expect(failure).toBeInstanceOf(CommanderError);
    expect(stderr).toMatch(
      /^shoes-vz: option '--host-name <name>' value 'Not_A_Name' from env 'SHOESVZ_HOST_NAME' is invalid\. It must be a DNS name .*\n$/,
    );
  });

  it.each([
    ['true', true],
    ['1', true],
    ['Yes', true],
    ['false', undefined],
    ['0', undefined],
  ])('SHOESVZ_JSON=%s', async (text, json) => {
    vi.stubEnv('SHOESVZ_JSON', text);
    expect((await parse('demo')).options?.json).toBe(json);
  });

  it('of a switch that takes something away are read the same way', async () => {
    vi.stubEnv('SHOESVZ_NO_GUEST_AGENT', 'false');
    expect((await parse('template build linux')).options).toMatchObject({ guestAgent: true });
    vi.stubEnv('SHOESVZ_NO_GUEST_AGENT', 'true');
    expect((await parse('template build linux')).options).toMatchObject({ guestAgent: false });
  });

  it('of a switch that are neither true nor false are refused', async () => {
    vi.stubEnv('SHOESVZ_KEEP', 'maybe');
    const { failure, stderr, options } = await parse('demo');
    expect(failure).toBeInstanceOf(CommanderError);
    expect(options).toBeUndefined();
    expect(stderr).toBe(
      "shoes-vz: option '--keep' value 'maybe' from env 'SHOESVZ_KEEP' is invalid. It has to be true or false. (see shoes-vz demo --help)\n",
    );
  });
});

describe('paths', () => {
  it('are from the working directory where they are relative', async () => {
    const { options } = await parse('up --data-dir some/where --host-root ./root');
    expect(options).toMatchObject({
      dataDir: `${process.cwd()}/some/where`,
      hostRoot: `${process.cwd()}/root`,
    });
  });
});
