import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { Command } from 'commander';
import { BundleStore, templatesDir } from '../../node-daemon/vm/bundle.ts';
import { checkHostRoot } from '../../node-daemon/vm/host-root.ts';
import { systemProcesses } from '../../node-daemon/vm/process.ts';
import { QemuDriver } from '../../node-daemon/vm/qemu/driver.ts';
import { anyBootableTemplate } from '../../node-daemon/vm/qemu/template-files.ts';
import { CliError } from '../failure.ts';
import { guestLinkPortOption, hostRootOption } from '../options.ts';
import { missingPackages } from '../setup/packages.ts';

/** `warn`: it works, but less well than it could. */
interface Finding {
  readonly verdict: 'ok' | 'warn' | 'fail';
  readonly subject: string;
  readonly detail: string;
}

export const doctorCommand = (): Command =>
  new Command('doctor')
    .description(
      'Looks whether this machine can run VMs well, and says what would make it so. Changes nothing.',
    )
    .addOption(hostRootOption('/opt/myshoes/vz'))
    .addOption(guestLinkPortOption(8081))
    .action(run);

async function run(options: { hostRoot: string; guestLinkPort: number }): Promise<void> {
  const findings = [
    platform(),
    node(),
    await packages(),
    ...(await hostRoot(options.hostRoot)),
    await port(options.guestLinkPort),
  ];
  for (const { verdict, subject, detail } of findings) {
    process.stdout.write(`${verdict.padEnd(5)}${subject.padEnd(14)}${detail}\n`);
  }
  const failed = findings.filter(({ verdict }) => verdict === 'fail');
  if (failed.length > 0) {
    throw new CliError(
      `this machine cannot run VMs yet: see ${failed.map(({ subject }) => subject).join(', ')}`,
    );
  }
}

function platform(): Finding {
  const detail = `${process.platform} ${process.arch}`;
  return process.platform === 'linux'
    ? { verdict: 'ok', subject: 'platform', detail }
    : { verdict: 'fail', subject: 'platform', detail: `${detail}: only Linux hosts run VMs so far` };
}

function node(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  const detail = process.version;
  return major >= 24
    ? { verdict: 'ok', subject: 'node', detail }
    : { verdict: 'fail', subject: 'node', detail: `${detail}: Node 24 or later is needed` };
}

async function packages(): Promise<Finding> {
  const missing = await missingPackages(['run-vms', 'build-template']);
  return missing.length === 0
    ? { verdict: 'ok', subject: 'packages', detail: 'QEMU and what templates are built with are here' }
    : {
        verdict: 'fail',
        subject: 'packages',
        detail: `install ${missing.join(' ')} (apt-get install, as root)`,
      };
}

async function hostRoot(path: string): Promise<Finding[]> {
  if (!existsSync(path)) {
    return [
      { verdict: 'warn', subject: 'host root', detail: `${path} is not there yet; the node daemon makes it` },
    ];
  }
  const checked = await checkHostRoot(path);
  if (!checked.ok) return [{ verdict: 'fail', subject: 'host root', detail: checked.problem }];
  const { bavail, bsize } = await statfs(checked.root);
  const gib = Math.floor((bavail * bsize) / 2 ** 30);
  return [
    { verdict: 'ok', subject: 'host root', detail: checked.root },
    {
      verdict: gib >= 20 ? 'ok' : 'warn',
      subject: 'room',
      detail: `${gib} GiB free on the volume of the host root`,
    },
    ...(await driver(checked.root)),
  ];
}

async function driver(root: string): Promise<Finding[]> {
  const bundles = new BundleStore(root);
  try {
    const found = await new QemuDriver({ bundles, processes: systemProcesses() }).probe();
    const template = await anyBootableTemplate(templatesDir(root));
    const tried =
      template === undefined ? 'no template to try it with yet: see template build' : found.acceleratorReason;
    return [
      { verdict: 'ok', subject: 'driver', detail: `QEMU ${found.version}` },
      {
        verdict: found.accelerator === 'tcg' ? 'warn' : 'ok',
        subject: 'accelerator',
        detail: `${found.accelerator}${tried === undefined ? '' : `: ${tried}`}`,
      },
      found.reflink
        ? { verdict: 'ok', subject: 'reflink', detail: 'disks are cloned copy-on-write by the filesystem' }
        : {
            verdict: 'warn',
            subject: 'reflink',
            detail: 'no reflink here (XFS and btrfs have it): qcow2 overlays serve instead',
          },
    ];
  } catch (error) {
    return [
      { verdict: 'fail', subject: 'driver', detail: error instanceof Error ? error.message : String(error) },
    ];
  }
}

function port(number: number): Promise<Finding> {
  if (number === 0) return Promise.resolve({ verdict: 'ok', subject: 'ports', detail: 'any free one' });
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () =>
      resolve({
        verdict: 'fail',
        subject: 'ports',
        detail: `--guest-link-port: ${number} is taken by another program`,
      }),
    );
    server.listen(number, '127.0.0.1', () => {
      server.close(() =>
        resolve({ verdict: 'ok', subject: 'ports', detail: `${number} is free for the guest link` }),
      );
    });
  });
}
