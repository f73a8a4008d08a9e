import { join } from 'node:path';
import { Command } from 'commander';
import { untilStopped } from '../lifetime.ts';
import { fileLogger } from '../logging.ts';
import {
  cpuOvercommitOption,
  dataDirOption,
  guestLinkPortOption,
  hostNameOption,
  hostRootOption,
  integer,
  logLevelOption,
  maxRunnersOption,
  metricsPortOption,
  option,
  placementOption,
} from '../options.ts';
import { startSystem } from '../system.ts';
import { recallUp, rememberUp } from '../up-file.ts';

interface Options {
  readonly dataDir: string;
  readonly hostRoot?: string;
  readonly hostName?: string;
  readonly apiPort?: number;
  readonly maxRunners?: number;
  readonly cpuOvercommit?: number;
  readonly guestLinkPort: number;
  readonly placement: 'spread' | 'pack';
  readonly metricsPort: number;
  readonly daemonMetricsPort: number;
  readonly logLevel: string;
}

export const upCommand = (): Command =>
  new Command('up')
    .description(
      'Runs a whole system on this machine: API server, etcd, controller and node daemon. Ctrl-C stops it; VMs run on and the next up adopts them.',
    )
    .addOption(dataDirOption())
    .addOption(hostRootOption(undefined).default(undefined, 'the one of the last up, else <data-dir>/host'))
    .addOption(hostNameOption())
    .addOption(
      option('--api-port <port>', 'port of the API server')
        .argParser(integer(1, 65535))
        .default(undefined, 'the one of the last up, else any free one'),
    )
    .addOption(maxRunnersOption())
    .addOption(cpuOvercommitOption())
    .addOption(guestLinkPortOption(0))
    .addOption(placementOption())
    .addOption(metricsPortOption(0))
    .addOption(
      option(
        '--daemon-metrics-port <port>',
        "port of the node daemon's /metrics, /healthz and /readyz; 0: none",
      )
        .argParser(integer(0, 65535))
        .default(0),
    )
    .addOption(logLevelOption())
    .action(run);

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function run(options: Options): Promise<void> {
  // VMs that the last up left running belong to its host: another name would not be theirs.
  const last = await recallUp(options.dataDir);
  const logFile = join(options.dataDir, 'logs', 'shoes-vz.log');
  const system = await startSystem({
    ...options,
    hostRoot: options.hostRoot ?? last?.hostRoot ?? join(options.dataDir, 'host'),
    hostName: options.hostName ?? last?.hostName,
    log: fileLogger(options.logLevel, logFile),
    progress: say,
  });
  await rememberUp(options.dataDir, { hostRoot: system.daemon.hostRoot, hostName: system.daemon.hostName });
  try {
    say(`API server   ${system.controlPlane.server}`);
    say(`host         ${system.daemon.hostName}, templates in ${join(system.daemon.hostRoot, 'templates')}`);
    say(`log          ${logFile}`);
    say('ready');
    say('');
    say(`  export KUBECONFIG=${system.controlPlane.kubeconfigPath}`);
    say('  kubectl get shoesvz -A');
    const signal = await untilStopped(system.failed);
    say(`${signal}: stopping; VMs run on, and the next up adopts them`);
  } finally {
    await system.stop();
  }
}
