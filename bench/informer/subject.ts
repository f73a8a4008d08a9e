import { CustomObjectsApi, KubeConfig, makeInformer } from '@kubernetes/client-node';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { Informer } from '../../kube/informer.ts';
import type { Answer, Seen, Task } from './messages.ts';

/** A process that follows Runners with one implementation, told by its parent what to do. */
const { KUBECONFIG: kubeconfig = '', IMPLEMENTATION: implementation } = process.env;

/** client-node's informer stops at an error; whoever uses it starts it again. */
const RESTART_AFTER_MS = 1_000;
const { group, version, plural } = RUNNERS;

let seen: Seen[] = [];
let problems = 0;
const count: { objects: () => number } = { objects: () => 0 };

const see = ({ metadata }: { metadata?: { name?: string; resourceVersion?: string } }): void => {
  seen.push({
    name: metadata?.name ?? '',
    resourceVersion: metadata?.resourceVersion ?? '',
    at: Number(process.hrtime.bigint()) / 1e6,
  });
};

async function followOurs(namespaces: readonly (string | undefined)[]): Promise<void> {
  const client = loadKubeClient({ kubeconfigPath: kubeconfig, userAgent: 'shoes-vz-bench-ours/0' });
  const informers = namespaces.map((namespace) => {
    const onProblem = () => {
      problems += 1;
    };
    const informer = new Informer<Runner>({ client, type: RUNNERS, namespace, onProblem });
    informer.on({ added: see, updated: (_, runner) => see(runner) });
    informer.start();
    return informer;
  });
  count.objects = () => informers.reduce((sum, { store }) => sum + store.size, 0);
  await Promise.all(informers.map(({ synced }) => synced));
}

async function followClientNode(namespaces: readonly (string | undefined)[]): Promise<void> {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = config.makeApiClient(CustomObjectsApi);
  const informers = namespaces.map((namespace) => {
    const within = namespace === undefined ? '' : `/namespaces/${namespace}`;
    const list = async () =>
      namespace === undefined
        ? await api.listClusterCustomObject({ group, version, plural })
        : await api.listNamespacedCustomObject({ group, version, namespace, plural });
    const informer = makeInformer(config, `/apis/${group}/${version}${within}/${plural}`, list);
    informer.on('add', see);
    informer.on('update', see);
    informer.on('error', () => {
      problems += 1;
      setTimeout(() => void informer.start(), RESTART_AFTER_MS);
    });
    return informer;
  });
  count.objects = () => informers.reduce((sum, informer) => sum + informer.list().length, 0);
  await Promise.all(informers.map((informer) => informer.start()));
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function carryOut(task: Task): Promise<Answer> {
  switch (task.do) {
    case 'follow':
      await (implementation === 'ours' ? followOurs : followClientNode)(task.namespaces ?? [undefined]);
      return { objects: count.objects() };
    case 'count':
      return { objects: count.objects() };
    case 'usage': {
      const cpuMsBefore = cpuMs();
      globalThis.gc?.();
      globalThis.gc?.();
      const { heapUsed, rss } = process.memoryUsage();
      return { heapMiB: heapUsed / 2 ** 20, residentMiB: rss / 2 ** 20, cpuMsBefore, cpuMsAfter: cpuMs() };
    }
    case 'take': {
      const taken = { seen, problems };
      seen = [];
      problems = 0;
      return taken;
    }
  }
}

process.on('message', (task: Task) => {
  void carryOut(task).then(
    (answer) => process.send?.(answer),
    (error: unknown) => process.send?.({ error: String(error) } satisfies Answer),
  );
});
process.on('disconnect', () => process.exit());
