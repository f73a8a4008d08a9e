import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { tryFileLock } from '../../node-daemon/file-lock.ts';
import { readVolume } from '../../node-daemon/host/machine.ts';
import { ROOT_LOCK_FILE } from '../../node-daemon/host/root-lock.ts';
import { BundleStore, runnersDir, templatesDir } from '../../node-daemon/vm/bundle.ts';
import { checkHostRoot } from '../../node-daemon/vm/host-root.ts';
import { systemProcesses } from '../../node-daemon/vm/process.ts';
import { QemuDriver } from '../../node-daemon/vm/qemu/driver.ts';
import { anyBootableTemplate } from '../../node-daemon/vm/qemu/template-files.ts';
import { CliError, oneLine } from '../failure.ts';
import { requireFreePort, type WantedPort } from '../free-port.ts';
import { missingPart, removeEmpty } from '../fresh-directory.ts';
import { listenForStop } from '../lifetime.ts';
import {
  DEFAULT_HOST_ROOT,
  guestLinkPortOption,
  hostRootOption,
  metricsAddressOption,
  metricsPortOption,
} from '../options.ts';
import { missingPackages } from '../setup/packages.ts';

/** `warn`: it works, but less well than it could. */
interface Finding {
  readonly verdict: 'ok' | 'warn' | 'fail';
  readonly subject: string;
  readonly detail: string;
}

interface Options {
  readonly hostRoot: string;
  readonly guestLinkPort: number;
  readonly metricsAddress: string;
  readonly metricsPort: number;
}

export const doctorCommand = (): Command =>
  new Command('doctor')
    .description(
      'Looks whether this machine can run VMs well as a host, and says what would make it so. Leaves nothing but, in the host root, what it found out about kvm.',
    )
    .addOption(hostRootOption().default(DEFAULT_HOST_ROOT))
    .addOption(guestLinkPortOption(8081))
    .addOption(metricsAddressOption())
    .addOption(metricsPortOption(8083))
    .action(run);

/** Free room below which a host is soon full: a handful of VMs that write to their disks. */
const AMPLE_BYTES = 20 * 2 ** 30;

async function run(options: Options): Promise<void> {
  const stop = listenForStop();
  const findings = [platform(), node(), await packages()];
  const served = isServed(options.hostRoot);
  findings.push(...(await leavingNoDirectories(options.hostRoot, () => hostRoot(options.hostRoot))));
  stop.signal.throwIfAborted();
  findings.push(...(await ports(options, served)));
  for (const { verdict, subject, detail } of findings) {
    process.stdout.write(`${verdict.padEnd(5)}${subject.padEnd(14)}${detail}\n`);
  }
  const failed = findings.filter(({ verdict }) => verdict === 'fail').map(({ subject }) => subject);
  if (failed.length > 0) {
    throw new CliError(`this machine cannot run VMs yet: see ${[...new Set(failed)].join(', ')}`);
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

/** Whether a node daemon runs on this root, whose ports are then taken by itself. */
function isServed(root: string): boolean {
  const file = join(root, ROOT_LOCK_FILE);
  if (!existsSync(file)) return false;
  const lock = tryFileLock(file);
  lock?.release();
  return lock === undefined;
}

/** A host root is judged by making it; what was not there before goes again, unless somebody uses it by now. */
async function leavingNoDirectories<T>(root: string, look: () => Promise<T>): Promise<T> {
  const inside = [templatesDir(root), runnersDir(root)].filter((path) => !existsSync(path));
  const made = [...inside, ...missingPart(root)];
  try {
    return await look();
  } finally {
    await removeEmpty(made);
  }
}

async function hostRoot(path: string): Promise<Finding[]> {
  const there = existsSync(path);
  const checked = await checkHostRoot(path);
  if (!checked.ok) return [{ verdict: 'fail', subject: 'host root', detail: checked.problem }];
  const { freeBytes } = await readVolume(checked.root);
  const gib = Math.floor(freeBytes / 2 ** 30);
  return [
    {
      verdict: 'ok',
      subject: 'host root',
      detail: there ? checked.root : `${path} is not there yet, and can be made`,
    },
    {
      verdict: freeBytes >= AMPLE_BYTES ? 'ok' : 'warn',
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
    return [{ verdict: 'fail', subject: 'driver', detail: reasonOf(error) }];
  }
}

async function ports(options: Options, served: boolean): Promise<Finding[]> {
  const wanted: readonly WantedPort[] = [
    { flag: '--guest-link-port', host: '127.0.0.1', port: options.guestLinkPort },
    { flag: '--metrics-port', host: options.metricsAddress, port: options.metricsPort },
  ];
  const look = async (one: WantedPort): Promise<Finding> => {
    const where = `${one.port} of ${one.host}`;
    const problem = await requireFreePort(one).then(() => undefined, reasonOf);
    if (problem === undefined) return { verdict: 'ok', subject: 'port', detail: `${where} is free` };
    if (!served) return { verdict: 'fail', subject: 'port', detail: problem };
    const detail = `${where} is taken, it seems by the node daemon that serves this host root`;
    return { verdict: 'ok', subject: 'port', detail };
  };
  return await Promise.all(wanted.filter(({ port }) => port !== 0).map(look));
}

const reasonOf = (error: unknown): string => oneLine(error instanceof Error ? error.message : String(error));
