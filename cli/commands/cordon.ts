import { Command } from 'commander';
import { loadKubeClient } from '../../kube/client.ts';
import { cordonLine, setUnschedulable } from '../hosts/cordon.ts';
import { findHost, type HostArgument, hostArgument } from '../hosts/find.ts';
import { contextOption, kubeconfigOption } from '../options.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
}

export const cordonCommand = (): Command =>
  hostCommand('cordon')
    .description('Lets no Runner be bound to a host any more; those that are there stay.')
    .action(async (argument: HostArgument, options: Options) => await run(argument, options, true));

export const uncordonCommand = (): Command =>
  hostCommand('uncordon')
    .description('Lets Runners be bound to a host again.')
    .action(async (argument: HostArgument, options: Options) => await run(argument, options, false));

const hostCommand = (name: string): Command =>
  new Command(name)
    .argument('<host>', 'name of the host; or machost/NAME, linuxhost/NAME', hostArgument)
    .addOption(kubeconfigOption())
    .addOption(contextOption());

async function run(
  argument: HostArgument,
  { kubeconfig, context }: Options,
  unschedulable: boolean,
): Promise<void> {
  const client = loadKubeClient({ kubeconfigPath: kubeconfig, context, userAgent: `shoes-vz/${VERSION}` });
  try {
    const host = await findHost(client, argument);
    const cordoned = await setUnschedulable(client, host, unschedulable);
    process.stdout.write(`${cordonLine(cordoned, unschedulable ? 'cordoned' : 'uncordoned')}\n`);
  } finally {
    await client.close();
  }
}
