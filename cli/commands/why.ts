import { Command, InvalidArgumentError } from 'commander';
import { DnsName } from '../../crds/scalars.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { loadClusterAccess } from '../../kube/kubeconfig.ts';
import { contextOption, kubeconfigOption, option } from '../options.ts';
import { VERSION } from '../version.ts';
import { readRecord } from '../why/read.ts';
import { linesOf } from '../why/story.ts';
import { traceOf } from '../why/trace.ts';

interface Options {
  readonly namespace?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly json?: boolean;
}

export const whyCommand = (): Command =>
  new Command('why')
    .description(
      'Tells the life of a Runner: what it waited for and how long each part took, what it waits for now or why it failed, and what one would do next.',
    )
    .argument('<runner>', 'name of the Runner', objectName)
    .addOption(
      option('-n, --namespace <name>', 'namespace of the Runner', "the context's, or default").argParser(
        objectName,
      ),
    )
    .addOption(kubeconfigOption())
    .addOption(contextOption())
    .addOption(option('--json', 'print it as one line of JSON, durations in milliseconds'))
    .action(run);

function objectName(text: string): string {
  if (DnsName.safeParse(text).success) return text;
  throw new InvalidArgumentError('It has to be a name of lower-case letters, digits, "-" and ".".');
}

async function run(name: string, { namespace, kubeconfig, context, json }: Options): Promise<void> {
  const access = loadClusterAccess({ path: kubeconfig, context });
  const client = loadKubeClient({
    kubeconfigPath: kubeconfig,
    context,
    userAgent: `shoes-vz/${VERSION}`,
  });
  try {
    const ref = { namespace: namespace ?? access.namespace ?? 'default', name };
    const { runner, template, events, eventsKnown } = await readRecord(client, ref, Date.now());
    const trace = traceOf(runner, events, Date.now(), template);
    const text = json === true ? JSON.stringify(trace) : linesOf(trace).join('\n');
    process.stdout.write(`${text}\n`);
    if (!eventsKnown) {
      process.stderr.write('shoes-vz: without the right to list Events some parts are told less exactly\n');
    }
  } finally {
    await client.close();
  }
}
