import { Command } from 'commander';
import { runController } from '../../controller/main.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { ELECTION_CALL_TIMEOUT_MS, LEADER_CALL_TIMEOUT_MS } from '../../kube/leader-election.ts';
import { requireFreePort } from '../free-port.ts';
import { listenForStop } from '../lifetime.ts';
import { stderrLogger } from '../logging.ts';
import {
  contextOption,
  kubeconfigOption,
  leaderElectOption,
  logLevelOption,
  metricsAddressOption,
  metricsPortOption,
  noLeaderElectOption,
  placementOption,
} from '../options.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly placement: 'spread' | 'pack';
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly leaderElect: boolean;
  readonly logLevel: string;
}

export const controllerCommand = (): Command =>
  new Command('controller')
    .description(
      'Runs the controller: binds Runners to hosts. Of several in one cluster one works, and another takes over when it ends.',
    )
    .addOption(kubeconfigOption())
    .addOption(contextOption())
    .addOption(placementOption())
    .addOption(leaderElectOption())
    .addOption(noLeaderElectOption())
    .addOption(metricsAddressOption())
    .addOption(metricsPortOption(8082))
    .addOption(logLevelOption())
    .action(run);

async function run(options: Options): Promise<void> {
  const { placement, metricsAddress: host, metricsPort: port } = options;
  const stop = listenForStop();
  const client = connect(options, LEADER_CALL_TIMEOUT_MS);
  const electionClient = connect(options, ELECTION_CALL_TIMEOUT_MS);
  try {
    await requireFreePort({ flag: '--metrics-port', host, port });
    const controller = await runController({
      client,
      log: stderrLogger(options.logLevel),
      placement,
      http: port === 0 ? undefined : { host, port },
      election: options.leaderElect ? { client: electionClient } : undefined,
    });
    try {
      await Promise.race([controller.started, stop.interrupted]);
      await Promise.race([stop.asked, controller.failed, controller.ready.then(() => stop.asked)]);
    } finally {
      await controller.stop();
    }
  } finally {
    await Promise.all([client.close(), electionClient.close()]);
  }
}

const connect = ({ kubeconfig, context }: Options, timeoutMs: number): KubeClient =>
  loadKubeClient({
    kubeconfigPath: kubeconfig,
    context,
    userAgent: `shoes-vz-controller/${VERSION}`,
    timeoutMs,
  });
