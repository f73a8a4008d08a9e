import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { loadKubeClient } from '../../kube/client.ts';
import { burnAll } from '../burn.ts';
import { layoutOf } from '../control-plane/layout.ts';
import { tryLock, waitForLock } from '../control-plane/lock.ts';
import { CliError } from '../failure.ts';
import { fileLogger } from '../logging.ts';
import { dataDirOption, hostNameOption, hostRootOption, integer, option } from '../options.ts';
import { startSystem } from '../system.ts';
import { recallUp } from '../up-file.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly dataDir: string;
  readonly hostRoot?: string;
  readonly hostName?: string;
  readonly timeout: number;
}

type Resolved = Options & { readonly hostRoot: string };

export const downCommand = (): Command =>
  new Command('down')
    .description(
      'Deletes all Runners of an up on this machine, waits until their VMs are gone, and stops it. Templates and data stay.',
    )
    .addOption(dataDirOption())
    .addOption(hostRootOption(undefined).default(undefined, 'the one of the last up'))
    .addOption(hostNameOption().default(undefined, 'the one of the last up'))
    .addOption(option('--timeout <seconds>', 'how long to wait').argParser(integer(1, 86_400)).default(300))
    .action(run);

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function run(given: Options): Promise<void> {
  const layout = layoutOf(given.dataDir);
  if (!existsSync(layout.kubeconfig)) {
    throw new CliError(
      `--data-dir: there is no system in ${given.dataDir}; was another directory used for up?`,
    );
  }
  const last = await recallUp(given.dataDir);
  const options = {
    ...given,
    hostRoot: given.hostRoot ?? last?.hostRoot ?? join(given.dataDir, 'host'),
    hostName: given.hostName ?? last?.hostName,
  };
  const lock = await tryLock(layout.lock);
  if ('release' in lock) {
    lock.release();
    await downStopped(options);
  } else {
    await downRunning(options, lock.heldBy);
  }
  say('all VMs are gone, and nothing runs any more');
}

/** An up is running: its own daemon purges, then it is asked to stop. */
async function downRunning(options: Resolved, pid: number | undefined): Promise<void> {
  const layout = layoutOf(options.dataDir);
  const client = loadKubeClient({ kubeconfigPath: layout.kubeconfig, userAgent: `shoes-vz/${VERSION}` });
  try {
    await burnAll({
      client,
      hostRoot: options.hostRoot,
      timeoutMs: options.timeout * 1000,
      progress: say,
    });
  } finally {
    await client.close();
  }
  if (pid !== undefined) process.kill(pid, 'SIGTERM');
  const lock = await waitForLock(layout.lock, { onWait: () => undefined, timeoutMs: options.timeout * 1000 });
  if (lock === undefined) throw new CliError(`process ${pid ?? '?'} does not stop; it holds ${layout.lock}`);
  lock.release();
}

/** VMs may have been left running: the system is started once more to purge them. */
async function downStopped(options: Resolved): Promise<void> {
  const { hostRoot } = options;
  const system = await startSystem({
    dataDir: options.dataDir,
    hostRoot,
    hostName: options.hostName,
    guestLinkPort: 0,
    placement: 'spread',
    metricsPort: 0,
    daemonMetricsPort: 0,
    log: fileLogger('info', join(options.dataDir, 'logs', 'shoes-vz.log')),
    progress: say,
  });
  try {
    await burnAll({ client: system.client, hostRoot, timeoutMs: options.timeout * 1000, progress: say });
  } finally {
    await system.stop();
  }
}
