import { Command } from 'commander';
import { runController } from '../../controller/main.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { untilStopped } from '../lifetime.ts';
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
  const log = stderrLogger(options.logLevel);
  const client = loadKubeClient({
    kubeconfigPath: options.kubeconfig,
    context: options.context,
    userAgent: `shoes-vz-controller/${VERSION}`,
  });
  try {
    const controller = await runController({
      client,
      log,
      placement: options.placement,
      http:
        options.metricsPort === 0 ? undefined : { host: options.metricsAddress, port: options.metricsPort },
    });
    try {
      await controller.ready;
      await untilStopped();
    } finally {
      await controller.stop();
    }
  } finally {
    await client.close();
  }
}
