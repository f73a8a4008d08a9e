import { afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { KubeClient } from '../../kube/client.ts';
import { systemClock } from '../../kube/clock.ts';
import { EVENTS, EventRecorder } from '../../kube/events.ts';
import { LEASES, LeaseHolder, type LeaseHolderOptions } from '../../kube/lease.ts';
import { testClient, testNamespace, uniqueName } from '../harness/control-plane.ts';
import { CONFIG_MAPS, configMap, proxiedClient } from './kube-world.ts';

let client: KubeClient;
let namespace: string;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  client = testClient();
  return () => client.close();
});

beforeEach(async () => {
  namespace = await testNamespace(client);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A holder that says what happened, and lets a test wait for it. */
function contender(identity: string, options: Partial<LeaseHolderOptions> = {}) {
  const told: string[] = [];
  const waiting = new Map<string, PromiseWithResolvers<void>>();
  const when = (event: string): Promise<void> => {
    if (told.includes(event)) return Promise.resolve();
    const waiter = waiting.get(event) ?? Promise.withResolvers<void>();
    waiting.set(event, waiter);
    return waiter.promise;
  };
  const tell = (event: string) => {
    told.push(event);
    waiting.get(event)?.resolve();
  };
  const lease = new LeaseHolder({
    resources: client.resources(LEASES),
    ref: { namespace, name: 'contended' },
    identity,
    durationMs: 3_000,
    renewEveryMs: 500,
    retryEveryMs: 200,
    onAcquired: () => tell('acquired'),
    onLost: (loss) => tell(loss),
    ...options,
  });
  cleanups.push(() => lease.stop({ release: false }));
  return { lease, told, when };
}

describe('a lease on a real API server', () => {
  test('is held by one of two, and passes to the other when it is released', async () => {
    const [a, b] = [contender('a'), contender('b')];
    a.lease.start();
    b.lease.start();
    await Promise.race([a.lease.acquired, b.lease.acquired]);
    const [holder, other] = a.lease.isFresh ? [a, b] : [b, a];
    const ref = { namespace, name: 'contended' };
    const { resourceVersion } = (await client.resources(LEASES).get(ref))?.metadata ?? {};
    while ((await client.resources(LEASES).get(ref))?.metadata.resourceVersion === resourceVersion);
    expect([holder.lease.isFresh, other.lease.isFresh]).toEqual([true, false]);
    await holder.lease.stop({ release: true });
    await other.when('acquired');
    expect(holder.lease.isFresh).toBe(false);
    expect((await client.resources(LEASES).get(ref))?.spec).toMatchObject({ leaseTransitions: 1 });
  });

  test('passes to the other when its holder is cut off, and not before it has run out', async () => {
    const cutOff = await proxiedClient(inject('kubeconfig'), { timeoutMs: 1_000 });
    cleanups.push(() => cutOff.close());
    const a = contender('a', { resources: cutOff.client.resources(LEASES) });
    a.lease.start();
    await a.when('acquired');
    let freshAtTakeover: boolean | undefined;
    const b = contender('b', {
      onAcquired: () => {
        freshAtTakeover = a.lease.isFresh;
        taken.resolve();
      },
    });
    const taken = Promise.withResolvers<void>();
    b.lease.start();
    cutOff.proxy.refusing = true;
    cutOff.proxy.freeze();
    await a.when('Expired');
    await taken.promise;
    expect(freshAtTakeover).toBe(false);
    cutOff.proxy.refusing = false;
    await expect.poll(() => a.lease.otherHolder, { timeout: 20_000 }).toBe('b');
    expect(a.lease.isFresh).toBe(false);
  });

  test('counts its term on the monotonic clock', async () => {
    const a = contender('a');
    const before = systemClock.monotonic();
    a.lease.start();
    await a.when('acquired');
    expect(a.lease.freshUntil).toBeGreaterThanOrEqual(before + 3_000);
    expect(a.lease.freshUntil).toBeLessThanOrEqual(systemClock.monotonic() + 3_000);
  });
});

describe('events on a real API server', () => {
  const recorderOf = (dropped: string[]) =>
    new EventRecorder({
      resources: client.resources(EVENTS),
      reportingController: 'test.dev/controller',
      reportingInstance: 'here',
      onDropped: (why) => dropped.push(why),
    });

  test('are accepted, and count what repeats', async () => {
    const dropped: string[] = [];
    const recorder = recorderOf(dropped);
    const map = await client.resources(CONFIG_MAPS).create(configMap({ name: 'a', namespace }));
    const text = { type: 'Warning', reason: 'Odd', note: 'it looks odd' } as const;
    recorder.record(map, text);
    await expect.poll(async () => (await client.resources(EVENTS).list({ namespace })).items).toHaveLength(1);
    recorder.record(map, text);
    recorder.record(map, text);
    await recorder.stop({ deadlineMs: 10_000 });
    const { items } = await client.resources(EVENTS).list({ namespace });
    expect(dropped).toEqual([]);
    expect(items).toEqual([
      expect.objectContaining({
        reason: 'Odd',
        note: 'it looks odd',
        series: expect.objectContaining({ count: 3 }),
        regarding: expect.objectContaining({ kind: 'ConfigMap', name: 'a', uid: map.metadata.uid }),
      }),
    ]);
  });

  test('about cluster-scoped objects lie in the namespace default', async () => {
    const dropped: string[] = [];
    const recorder = recorderOf(dropped);
    const name = uniqueName('node');
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, uid: name } };
    recorder.record(node, { type: 'Normal', reason: 'Seen', note: `${'長'.repeat(2_000)}` });
    await recorder.stop({ deadlineMs: 10_000 });
    const { items } = await client.resources(EVENTS).list({ namespace: 'default' });
    expect(dropped).toEqual([]);
    expect(items.filter((event) => event.regarding.name === name)).toHaveLength(1);
  });

  test('that are refused hold nobody up', async () => {
    const dropped: string[] = [];
    const recorder = recorderOf(dropped);
    const lost = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'absent' } };
    recorder.record(lost, { type: 'Normal', reason: 'Seen', note: 'in a namespace that is not there' });
    await recorder.stop({ deadlineMs: 10_000 });
    expect(dropped).toEqual(['an event could not be written: namespaces "absent" not found']);
  });
});
