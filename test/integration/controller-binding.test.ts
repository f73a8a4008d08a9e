import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { REFUSED_RETRY_MS } from '../../controller/runner/bind-loop.ts';
import { finalizerName } from '../../crds/meta.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { ApiUnreachable } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import { LINUX_BUNDLE } from '../builders/template.ts';
import { finishAsTheyCome, hostsEverBound, inBatches, mostAtOnce } from './controller-churn.ts';
import { interfered, mayBind } from './controller-client.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import type { ControllerWorld } from './controller-world.ts';

const suite = controllerSuite();

describe('a binding', () => {
  test('records all that the node daemon needs, in one write with the finalizer', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(3);
    await world.controller();
    await world.runner('r', { metadata: { finalizers: ['example.com/other'] } });
    await world.bound('r');
    const first = world.sights.find(({ spec }) => spec.binding !== undefined);
    expect(first?.spec.binding).toEqual({
      hostName: host.metadata.name,
      hostUID: host.metadata.uid,
      attempt: 1,
      resources: { cpu: 2, memory: '4Gi', disk: '20Gi' },
      templateDigest: LINUX_BUNDLE.digest,
    });
    expect(first?.metadata.finalizers).toEqual(['example.com/other', finalizerName(host.metadata.name, 1)]);
    expect(first?.status, 'what is bound at once is told nothing').toEqual({
      observedGeneration: -1,
      phase: 'Pending',
    });
  });

  test('goes to the oldest first, each time a slot is freed', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.controller();
    const names = ['e', 'd', 'c', 'b', 'a'];
    const runners = await Promise.all(names.map(async (name) => await world.runner(name)));
    const byAge = runners.sort(isOlder).map(({ metadata }) => metadata.name);
    await world.host(1);
    for (const name of byAge) {
      await world.bound(name);
      await world.finish(name);
    }
    expect(world.boundOrder).toEqual(byAge);
  });

  test('is not made of a Runner that is dying, and one that was never bound just goes', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.controller();
    await world.runner('plain');
    await world.runner('held', { metadata: { finalizers: ['example.com/other'] } });
    await world.saysOf('plain', 'there are no hosts');
    const runners = world.client.resources<Runner>(RUNNERS);
    for (const name of ['plain', 'held']) await runners.delete({ namespace: world.namespace, name });
    await world.until('the plain Runner to go', () => world.get('plain') === undefined);
    await world.host(3);
    await world.runner('after');
    await world.bound('after');
    expect(world.boundOrder).toEqual(['after']);
  });
});

describe('a write that goes wrong', () => {
  test('because the Runner changed meanwhile is decided anew', async () => {
    const { world } = suite;
    await withBasics(world);
    const touched = new Set<string>();
    const client = interfered(world.controllerClient, {
      before: async ({ verb, kind, name }) => {
        if (verb !== 'patch' || kind !== 'Runner' || touched.has(name)) return;
        touched.add(name);
        await touch(world, name);
      },
    });
    await world.controller({ client });
    const host = await world.host(1);
    await world.runner('r');
    expect(await world.bound('r')).toEqual([host.metadata.name]);
    expect(world.get('r')?.metadata.annotations).toEqual({ 'example.com/touched': 'yes' });
  });

  test('without an answer leaves neither a slot taken nor a Runner bound twice', async () => {
    const { world } = suite;
    await withBasics(world);
    const lost = (reason: 'before' | 'after', nth: number) => {
      let count = 0;
      return ({ verb, kind }: { verb: string; kind: string }) => {
        if (verb !== 'patch' || kind !== 'Runner') return;
        count += 1;
        if (count === nth) throw new ApiUnreachable('test', 'Reset', `lost ${reason}`);
      };
    };
    const client = interfered(world.controllerClient, { before: lost('before', 1), after: lost('after', 1) });
    await world.controller({ client });
    await world.host(2);
    for (const name of ['a', 'b']) await world.runner(name);
    await world.bound('a', 'b');
    await world.runner('c');
    await world.saysOf('c', '1 host: 1 full');
    await world.finish('a');
    await world.bound('c');
    expect(world.sights.every(({ spec }) => (spec.binding?.attempt ?? 1) === 1)).toBe(true);
  });

  test('because it is not allowed is told, in the words of the API server, and tried again', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(1);
    await world.runner('scratch');
    const scratch = { namespace: world.namespace, name: 'scratch' };
    await mayBind(world.client, world.controllerClient, scratch, false);
    const clock = new SkippingClock();
    await world.controller({ clock });
    await world.until('a refusal', () => world.condition('scratch', 'Bound')?.reason === 'BindingRefused');
    expect(world.condition('scratch', 'Bound')?.message).toMatch(/cannot patch resource "runners"/);
    await mayBind(world.client, world.controllerClient, scratch, true);
    clock.skip(REFUSED_RETRY_MS);
    await world.bound('scratch');
  });
});

async function touch(world: ControllerWorld, name: string): Promise<void> {
  const runners = world.client.resources<Runner>(RUNNERS);
  const ref = { namespace: world.namespace, name };
  const object = await runners.get(ref);
  const metadata = { annotations: { 'example.com/touched': 'yes' } };
  await runners.patch(ref, object?.metadata.resourceVersion ?? '', { metadata });
}

describe('many Runners', () => {
  test('200 over 10 hosts are all bound, and no host ever holds more than its seven', async () => {
    const { world } = suite;
    await withBasics(world);
    for (let host = 0; host < 10; host += 1) await world.host(7);
    await world.controller();
    const names = Array.from({ length: 200 }, (_, index) => `r${index}`);
    const churn = finishAsTheyCome(world, names.length);
    await inBatches(names, 20, async (name) => void (await world.runner(name)));
    await churn;
    expect(new Set(world.boundOrder)).toEqual(new Set(names));
    expect(mostAtOnce(world)).toBeLessThanOrEqual(7);
  });

  test('are bound once each although the controller is killed again and again', async () => {
    const { world, controlPlane } = suite;
    await withBasics(world);
    for (let host = 0; host < 5; host += 1) await world.host(6);
    const names = Array.from({ length: 80 }, (_, index) => `r${index}`);
    const churn = finishAsTheyCome(world, names.length);
    const created = inBatches(names, 10, async (name) => void (await world.runner(name)));
    let controller = await startController(controlPlane.kubeconfigPath);
    for (const share of [10, 25, 45]) {
      await world.until(`${share} Runners bound`, () => world.boundOrder.length >= share);
      await kill(controller);
      controller = await startController(controlPlane.kubeconfigPath);
    }
    await created;
    await churn;
    await kill(controller);
    expect(new Set(world.boundOrder)).toEqual(new Set(names));
    expect(mostAtOnce(world)).toBeLessThanOrEqual(6);
    expect(names.filter((name) => hostsEverBound(world, name).size !== 1)).toEqual([]);
  });
});

const isOlder = (a: Stored<Runner>, b: Stored<Runner>): number => {
  const [left, right] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.uid}`);
  return (left ?? '') < (right ?? '') ? -1 : 1;
};

const CONTROLLER_PROCESS = fileURLToPath(new URL('./controller-process.ts', import.meta.url));

async function startController(kubeconfig: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [CONTROLLER_PROCESS, kubeconfig], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit')])) as [unknown];
  if (line !== 'ready') throw new Error(`the controller did not start: ${String(line)}`);
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
