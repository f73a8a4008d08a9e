import { Command } from 'commander';
import { loadKubeClient } from '../../kube/client.ts';
import { startNodeDaemon } from '../../node-daemon/main.ts';
import { requireDaemonApi } from '../api-check.ts';
import { requireFreePort } from '../free-port.ts';
import { asHostRoot, discardingOnFailure } from '../fresh-directory.ts';
import { listenForStop } from '../lifetime.ts';
import { stderrLogger } from '../logging.ts';
import {
  contextOption,
  cpuOvercommitOption,
  DEFAULT_HOST_ROOT,
  driverOption,
  guestLinkPortOption,
  hostNameOption,
  hostRootOption,
  kubeconfigOption,
  logLevelOption,
  maxRunnersOption,
  metricsAddressOption,
  metricsPortOption,
  OWN_NAME,
  stateFileOption,
} from '../options.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly hostRoot: string;
  readonly hostName?: string;
  readonly driver: 'qemu';
  readonly maxRunners?: number;
  readonly cpuOvercommit?: number;
  readonly guestLinkPort: number;
  readonly stateFile: string;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly logLevel: string;
}

export const nodeDaemonCommand = (): Command =>
  new Command('node-daemon')
    .description('Runs the node daemon of this machine: registers it as a host and runs the VMs bound to it.')
    .addOption(kubeconfigOption())
    .addOption(contextOption())
    .addOption(hostRootOption().default(DEFAULT_HOST_ROOT))
    .addOption(hostNameOption(OWN_NAME))
    .addOption(driverOption())
    .addOption(maxRunnersOption())
    .addOption(cpuOvercommitOption())
    .addOption(guestLinkPortOption(8081))
    .addOption(stateFileOption('/var/run/myshoes/runner-state.json'))
    .addOption(metricsAddressOption())
    .addOption(metricsPortOption(8083))
    .addOption(logLevelOption())
    .action(run);

async function run(options: Options): Promise<void> {
  const { hostRoot, guestLinkPort, metricsAddress: host, metricsPort: port } = options;
  const stop = listenForStop();
  const log = stderrLogger(options.logLevel);
  const client = loadKubeClient({
    kubeconfigPath: options.kubeconfig,
    context: options.context,
    userAgent: `shoes-vz-node-daemon/${VERSION}`,
  });
  try {
    await requireFreePort({ flag: '--guest-link-port', host: '127.0.0.1', port: guestLinkPort });
    await requireFreePort({ flag: '--metrics-port', host, port });
    await requireDaemonApi(client);
    const http = port === 0 ? undefined : { host, port };
    const daemon = await discardingOnFailure([asHostRoot(hostRoot)], () =>
      startNodeDaemon({ ...options, client, http, version: VERSION, log, signal: stop.signal }),
    );
    log.info({ host: daemon.hostName, hostRoot: daemon.hostRoot }, 'ready');
    try {
      await stop.asked;
    } finally {
      await daemon.stop();
    }
  } finally {
    await client.close();
  }
}
