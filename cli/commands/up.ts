import { readdir } from 'node:fs/promises';
import { Command } from 'commander';
import { templatesDir } from '../../node-daemon/vm/bundle.ts';
import { listenForStop } from '../lifetime.ts';
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
  OWN_NAME,
  option,
  placementOption,
} from '../options.ts';
import { missingPackages } from '../setup/packages.ts';
import { type System, startSystem } from '../system.ts';

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
    .addOption(hostRootOption('the one of the last up, else <data-dir>/host'))
    .addOption(hostNameOption(`the one of the last up, else ${OWN_NAME}`))
    .addOption(
      option(
        '--api-port <port>',
        'port of the API server',
        'the one of the last up, else any free one',
      ).argParser(integer(1, 65535)),
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
  const stop = listenForStop();
  const system = await startSystem({ ...options, progress: say, signal: stop.signal });
  try {
    await introduce(system);
    const signal = await Promise.race([stop.asked, system.failed]);
    say(`${signal}: stopping; VMs run on, and the next up adopts them`);
  } finally {
    await system.stop();
  }
}

/** Last of all `ready`, and what to do with it. */
async function introduce({ controlPlane, daemon, logFile }: System): Promise<void> {
  const templates = templatesDir(daemon.hostRoot);
  say(`API server   ${controlPlane.server}`);
  say(`host         ${daemon.hostName}, templates in ${templates}`);
  say(`log          ${logFile}`);
  const missing = await missingPackages(['run-vms']);
  if (missing.length > 0) say(`no VM can run yet: install ${missing.join(' ')} (apt-get install, as root)`);
  if ((await readdir(templates)).every((name) => name.startsWith('.'))) {
    say(`no template yet: shoes-vz template build linux --host-root ${daemon.hostRoot}`);
  }
  say('ready');
  say('');
  say(`  export KUBECONFIG=${controlPlane.kubeconfigPath}`);
  say('  kubectl get shoesvz -A');
}
