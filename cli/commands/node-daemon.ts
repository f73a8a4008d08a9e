import { Command } from 'commander';
import { loadKubeClient } from '../../kube/client.ts';
import { startNodeDaemon } from '../../node-daemon/main.ts';
import { untilStopped } from '../lifetime.ts';
import { stderrLogger } from '../logging.ts';
import {
  contextOption,
  cpuOvercommitOption,
  driverOption,
  guestLinkPortOption,
  hostNameOption,
  hostRootOption,
  kubeconfigOption,
  logLevelOption,
  maxRunnersOption,
  metricsAddressOption,
  metricsPortOption,
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
    .addOption(hostRootOption('/opt/myshoes/vz'))
    .addOption(hostNameOption())
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
  const log = stderrLogger(options.logLevel);
  const client = loadKubeClient({
    kubeconfigPath: options.kubeconfig,
    context: options.context,
    userAgent: `shoes-vz-node-daemon/${VERSION}`,
  });
  try {
    const http =
      options.metricsPort === 0 ? undefined : { host: options.metricsAddress, port: options.metricsPort };
    const daemon = await startNodeDaemon({ ...options, client, http, version: VERSION, log });
    log.info({ host: daemon.hostName, hostRoot: daemon.hostRoot }, 'ready');
    try {
      await untilStopped();
    } finally {
      await daemon.stop();
    }
  } finally {
    await client.close();
  }
}
