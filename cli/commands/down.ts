import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { loadKubeClient } from '../../kube/client.ts';
import { sleep, systemClock } from '../../kube/clock.ts';
import { burnAll, within } from '../burn.ts';
import { layoutOf } from '../control-plane/layout.ts';
import { tryLock } from '../control-plane/lock.ts';
import { livingRecorded } from '../control-plane/process-record.ts';
import { CliError } from '../failure.ts';
import { listenForStop, type StopRequest } from '../lifetime.ts';
import { dataDirOption, integer, option } from '../options.ts';
import { ownerFile, startSystem } from '../system.ts';
import { recallUp } from '../up-file.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly dataDir: string;
  /** Seconds. */
  readonly timeout: number;
}

interface Task {
  readonly dataDir: string;
  /** On systemClock's monotonic time. */
  readonly deadline: number;
  readonly stop: StopRequest;
}

const OWNER_POLL_MS = 50;

export const downCommand = (): Command =>
  new Command('down')
    .description(
      'Deletes all Runners of an up on this machine, waits until their VMs are gone, and stops it. Templates and data stay.',
    )
    .addOption(dataDirOption())
    .addOption(option('--timeout <seconds>', 'how long to wait').argParser(integer(1, 86_400)).default(300))
    .action(run);

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function run({ dataDir, timeout }: Options): Promise<void> {
  const layout = layoutOf(dataDir);
  if (!existsSync(layout.kubeconfig)) {
    throw new CliError(
      `--data-dir: there is no system in ${dataDir}; name the directory that was given to up`,
    );
  }
  const deadline = systemClock.monotonic() + timeout * 1000;
  const task = { dataDir, deadline, stop: listenForStop() };
  const lock = await tryLock(layout.lock);
  if ('release' in lock) {
    lock.release();
    await downStopped(task);
  } else {
    await downRunning(task);
  }
  say('all VMs are gone, and nothing runs any more');
}

/** An up is running: its own daemon purges, then it is asked to stop. */
async function downRunning({ dataDir, deadline, stop }: Task): Promise<void> {
  const layout = layoutOf(dataDir);
  const [owner] = await livingRecorded(ownerFile(dataDir));
  if (owner === undefined) {
    throw new CliError(`--data-dir: ${dataDir} belongs to an up that is just starting; try again`);
  }
  const hostRoot = (await recallUp(dataDir))?.hostRoot ?? join(dataDir, 'host');
  const client = loadKubeClient({ kubeconfigPath: layout.kubeconfig, userAgent: `shoes-vz/${VERSION}` });
  try {
    await burnAll({ client, hostRoot, deadline, ended: stop.interrupted, progress: say });
  } finally {
    await client.close();
  }
  // It may have ended by itself, and its pid been given away.
  for (const { pid } of await livingRecorded(ownerFile(dataDir))) process.kill(pid, 'SIGTERM');
  const gone = untilNoOwner(dataDir, deadline);
  await within(deadline, gone, () => `the VMs are gone, but process ${owner.pid}, the up, does not end`);
}

async function untilNoOwner(dataDir: string, deadline: number): Promise<void> {
  while ((await livingRecorded(ownerFile(dataDir))).length > 0 && systemClock.monotonic() < deadline) {
    // Not a child of ours: the kernel tells us nothing of its end.
    await sleep(systemClock, OWNER_POLL_MS);
  }
}

/** VMs may have been left running: the system is started once more to purge them. */
async function downStopped({ dataDir, deadline, stop }: Task): Promise<void> {
  const system = await startSystem({
    dataDir,
    guestLinkPort: 0,
    placement: 'spread',
    metricsPort: 0,
    daemonMetricsPort: 0,
    logLevel: 'info',
    progress: say,
    signal: stop.signal,
  });
  try {
    await burnAll({
      client: system.client,
      hostRoot: system.daemon.hostRoot,
      deadline,
      ended: Promise.race([system.failed, stop.interrupted]),
      progress: say,
    });
  } finally {
    await system.stop();
  }
}
