import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { DnsName } from '../../crds/scalars.ts';
import { type Judgement, judgeBundle } from '../../node-daemon/host/templates/judge.ts';
import { templatesDir } from '../../node-daemon/vm/bundle.ts';
import { DIGEST_CACHE_FILE, openDigestCache } from '../../node-daemon/vm/digest-cache.ts';
import { templateReader } from '../../node-daemon/vm/template.ts';
import { CliError } from '../failure.ts';
import { missingPart, removeEmpty } from '../fresh-directory.ts';
import { listenForStop } from '../lifetime.ts';
import { DEFAULT_HOST_ROOT, hostRootOption, option } from '../options.ts';
import { ensurePackages } from '../setup/packages.ts';
import { buildLinuxTemplate } from '../template/build.ts';

export function templateCommand(): Command {
  const build = new Command('build')
    .description('Builds a golden template.')
    .addCommand(
      new Command('linux')
        .description(
          'Builds a Linux template from Debian packages: no root, no KVM, no download but packages.',
        )
        .addOption(hostRootOption().default(DEFAULT_HOST_ROOT))
        .addOption(option('--name <name>', 'name of the template').argParser(templateName).default('debian'))
        .addOption(option('--no-guest-agent', 'build it without the guest agent'))
        .action(buildLinux),
    );
  const list = new Command('list')
    .description(
      'Lists the template bundles of a host root, checks their digests, and says what is wrong with those that are broken.',
    )
    .addOption(hostRootOption().default(DEFAULT_HOST_ROOT))
    .action(listTemplates);
  return new Command('template')
    .description('Builds and lists golden templates.')
    .addCommand(build)
    .addCommand(list);
}

function templateName(text: string): string {
  const problem = DnsName.safeParse(text).error?.issues[0]?.message;
  if (problem !== undefined) throw new InvalidArgumentError(`It ${problem}.`);
  return text;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);

async function buildLinux(options: { hostRoot: string; name: string; guestAgent: boolean }): Promise<void> {
  const { signal } = listenForStop();
  await ensurePackages(['build-template'], { progress });
  const { name, guestAgent } = options;
  const out = templatesDir(options.hostRoot);
  const made = missingPart(out);
  try {
    const { digest } = await buildLinuxTemplate({ name, out, guestAgent, log: progress, signal });
    say(`${name}\t${digest}`);
  } catch (error) {
    await removeEmpty(made);
    throw error;
  }
}

async function listTemplates(options: { hostRoot: string }): Promise<void> {
  const { signal } = listenForStop();
  const hostRoot = await realpath(options.hostRoot).catch(() => options.hostRoot);
  const dir = templatesDir(hostRoot);
  // What the daemon knows is not read again; nothing is written to its root.
  const known = await openDigestCache(join(hostRoot, DIGEST_CACHE_FILE));
  const reader = templateReader({ ...known, set: async () => undefined });
  const names = await bundleNames(dir);
  const judged = new Map<string, Judgement>();
  for (const name of names) {
    judged.set(name, await judgeBundle(name, join(dir, name), reader, signal));
    signal.throwIfAborted();
  }
  for (const [name, judgement] of judged) say(describe(name, judgement));
  const broken = [...judged.values()].filter(({ state }) => state === 'broken').length;
  if (broken > 0) throw new CliError(`${broken} of ${names.length} templates in ${dir} are broken`);
}

/** As the node daemon looks for them. */
async function bundleNames(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    const bundles = entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink());
    const names = bundles.map(({ name }) => name);
    return names.filter((name) => !name.startsWith('.')).sort();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const why = code === 'ENOENT' || code === 'ENOTDIR' ? 'is not there' : `cannot be read (${code})`;
    throw new CliError(
      `--host-root: the directory ${dir} ${why}; template build makes it, and the node daemon does`,
    );
  }
}

function describe(name: string, judgement: Judgement): string {
  switch (judgement.state) {
    case 'healthy': {
      const { os, arch, guestAgent, digest } = judgement.bundle.metadata;
      return [name, os, arch, guestAgent ? 'agent' : 'no agent', digest].join('\t');
    }
    case 'broken':
      return `${name}\tbroken: ${judgement.problem}`;
    case 'changing':
      return `${name}\tis being written to`;
    case 'absent':
      return `${name}\tis gone`;
  }
}
