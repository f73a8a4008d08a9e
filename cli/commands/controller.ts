import { Command } from 'commander';
import { runController } from '../../controller/main.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { requireFreePort } from '../free-port.ts';
import { listenForStop } from '../lifetime.ts';
import { stderrLogger } from '../logging.ts';
import {
  contextOption,
  kubeconfigOption,
  logLevelOption,
  metricsAddressOption,
  metricsPortOption,
  placementOption,
} from '../options.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly placement: 'spread' | 'pack';
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly logLevel: string;
}

export const controllerCommand = (): Command =>
  new Command('controller')
    .description('Runs the controller: binds Runners to hosts. One per cluster.')
    .addOption(kubeconfigOption())
    .addOption(contextOption())
    .addOption(placementOption())
    .addOption(metricsAddressOption())
    .addOption(metricsPortOption(8082))
    .addOption(logLevelOption())
    .action(run);

async function run(options: Options): Promise<void> {
  const { kubeconfig, context, placement, metricsAddress: host, metricsPort: port } = options;
  const stop = listenForStop();
  const client = loadKubeClient({
    kubeconfigPath: kubeconfig,
    context,
    userAgent: `shoes-vz-controller/${VERSION}`,
  });
  try {
    await requireFreePort({ flag: '--metrics-port', host, port });
    const controller = await runController({
      client,
      log: stderrLogger(options.logLevel),
      placement,
      http: port === 0 ? undefined : { host, port },
    });
    try {
      await Promise.race([controller.ready, stop.interrupted]);
      await Promise.race([stop.asked, controller.failed]);
    } finally {
      await controller.stop();
    }
  } finally {
    await client.close();
  }
}
