import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { isTemplateProblem, readTemplate } from '../../node-daemon/vm/template.ts';
import { CliError } from '../failure.ts';
import { untilStopped } from '../lifetime.ts';
import { hostRootOption, option } from '../options.ts';
import { ensurePackages } from '../setup/packages.ts';
import { buildLinuxTemplate } from '../template/build.ts';

const DEFAULT_ROOT = '/opt/myshoes/vz';

export function templateCommand(): Command {
  const build = new Command('build')
    .description('Builds a golden template.')
    .addCommand(
      new Command('linux')
        .description(
          'Builds a Linux template from Debian packages: no root, no KVM, no download but packages.',
        )
        .addOption(hostRootOption(DEFAULT_ROOT))
        .addOption(option('--name <name>', 'name of the template').default('debian'))
        .addOption(option('--no-guest-agent', 'build it without the guest agent'))
        .action(buildLinux),
    );
  const list = new Command('list')
    .description('Lists the template bundles of a host root, and what is wrong with those that are broken.')
    .addOption(hostRootOption(DEFAULT_ROOT))
    .action(listTemplates);
  return new Command('template')
    .description('Builds and lists golden templates.')
    .addCommand(build)
    .addCommand(list);
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);

async function buildLinux(options: { hostRoot: string; name: string; guestAgent: boolean }): Promise<void> {
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(options.name) || options.name.length > 253) {
    throw new CliError(
      `--name: "${options.name}" is no name for a template; use lower-case letters, digits, "-" and "."`,
    );
  }
  await ensurePackages(['build-template'], { progress });
  const stop = new AbortController();
  void untilStopped().then((signal) =>
    stop.abort(new CliError(`stopped by ${signal}; nothing was left behind`)),
  );
  const metadata = await buildLinuxTemplate({
    name: options.name,
    out: join(options.hostRoot, 'templates'),
    guestAgent: options.guestAgent,
    log: progress,
    signal: stop.signal,
  });
  say(`${metadata.name}\t${metadata.digest}`);
  process.exit(0);
}

async function listTemplates(options: { hostRoot: string }): Promise<void> {
  const dir = join(options.hostRoot, 'templates');
  const names = await readdir(dir).catch((error: unknown) => {
    throw new CliError(
      `--host-root: ${dir} cannot be read (${error instanceof Error ? error.message : error})`,
    );
  });
  let broken = 0;
  for (const name of names.filter((one) => !one.startsWith('.')).sort()) {
    const template = await readTemplate(join(dir, name));
    if (isTemplateProblem(template)) {
      broken += 1;
      say(`${name}\tbroken: ${template.message}`);
    } else {
      const { os, arch, guestAgent, digest } = template.metadata;
      say([name, os, arch, guestAgent ? 'agent' : 'no agent', digest].join('\t'));
    }
  }
  if (broken > 0) throw new CliError(`${broken} of ${names.length} templates in ${dir} are broken`);
}
