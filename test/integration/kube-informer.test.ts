import { getEventListeners } from 'node:events';
import { Socket } from 'node:net';
import { queryObjects } from 'node:v8';
import { afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { KubeClient } from '../../kube/client.ts';
import { type Clock, systemClock } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { testClient, testNamespace } from '../harness/control-plane.ts';
import {
  CONFIG_MAPS,
  type ConfigMap,
  configMap,
  type Proxied,
  proxiedClient,
  Watched,
} from './kube-world.ts';

let admin: KubeClient;
let maps: Resources<ConfigMap>;
let namespace: string;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  admin = testClient();
  maps = admin.resources(CONFIG_MAPS);
  return () => admin.close();
});

beforeEach(async () => {
  namespace = await testNamespace(admin);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function proxied(options: Parameters<typeof proxiedClient>[1] = {}): Promise<Proxied> {
  const world = await proxiedClient(inject('kubeconfig'), options);
  cleanups.push(() => world.close());
  return world;
}

function watch(client: KubeClient, options: ConstructorParameters<typeof Watched>[1] = {}): Watched {
  const watched = new Watched(client, { namespace, ...options });
  cleanups.push(() => watched.informer.stop());
  watched.informer.start();
  return watched;
}

const create = (name: string, value?: string, labels?: Record<string, string>) =>
  maps.create(configMap({ name, namespace, ...(labels !== undefined && { labels }) }, value));

const set = (map: Stored<ConfigMap>, value: string) =>
  maps.patch(map.metadata, map.metadata.resourceVersion, { data: { value } });

describe('an informer on a real API server', () => {
  test.each([
    ['by a stream', true],
    ['in pages', false],
  ])('lists %s and follows', async (_, streamingLists) => {
    await create('a');
    const watched = watch(admin, { streamingLists });
    await watched.informer.synced;
    expect(watched.story).toEqual(['+a=1']);
    const b = await create('b');
    await set(b, '2');
    await maps.delete({ namespace, name: 'a' });
    await watched.until('the deletion', () => watched.story.includes('-a'));
    expect(watched.story).toEqual(['+a=1', '+b=1', 'b=2', '-a']);
    expect(watched.informer.store.by('value', '2').map((map) => map.metadata.name)).toEqual(['b']);
    expect(watched.problems).toEqual([]);
  });

  test('sees only what its selectors select, and what enters and leaves the selection', async () => {
    const green = await create('green', '1', { colour: 'green' });
    await create('red', '1', { colour: 'red' });
    const byLabel = watch(admin, { labelSelector: 'colour=green' });
    const byField = watch(admin, { fieldSelector: 'metadata.name=red' });
    await Promise.all([byLabel.informer.synced, byField.informer.synced]);
    expect([byLabel.names, byField.names]).toEqual([['green'], ['red']]);
    const { metadata } = green;
    await maps.patch(metadata, metadata.resourceVersion, { metadata: { labels: { colour: 'blue' } } });
    await byLabel.until('the departure', () => byLabel.story.includes('-green'));
    expect(byField.story).toEqual(['+red=1']);
  });

  test('counts what it learned before the watch tells of it', async () => {
    const watched = watch(admin);
    await watched.informer.synced;
    const created = await create('a');
    watched.informer.learn(created);
    const changed = await set(created, '2');
    watched.informer.learn(changed);
    expect(watched.informer.store.by('value', '2')).toHaveLength(1);
    await create('marker');
    await watched.until('the marker', () => watched.story.includes('+marker=1'));
    expect(watched.story).toEqual(['+a=1', 'a=2', '+marker=1']);
  });

  test('takes the answer to the removal of the last finalizer for the end that it is', async () => {
    const watched = watch(admin);
    await watched.informer.synced;
    const created = await maps.create(configMap({ name: 'a', namespace, finalizers: ['test.dev/x'] }));
    await maps.delete(created.metadata);
    const dying = await maps.get(created.metadata);
    const answer = await maps.patch(created.metadata, dying?.metadata.resourceVersion ?? '', {
      metadata: { finalizers: null },
    });
    watched.informer.learn(created);
    watched.informer.learn(answer);
    expect(watched.names).toEqual([]);
    await create('marker');
    await watched.until('the marker', () => watched.story.includes('+marker=1'));
    expect(watched.story.filter((line) => line === '+a=1').length).toBeLessThanOrEqual(1);
    expect(watched.names).toEqual(['marker']);
  });

  test('resumes after its connection broke, without listing again, and misses nothing', async () => {
    const { client, proxy } = await proxied();
    const watched = watch(client);
    await create('a');
    await watched.until('a', () => watched.names.includes('a'));
    proxy.refusing = true;
    proxy.cut();
    await watched.until('the break', () => watched.problems.length > 0);
    await maps.delete({ namespace, name: 'a' });
    await create('a', '2');
    await create('b');
    proxy.refusing = false;
    await watched.until('b', () => watched.names.includes('b'));
    expect(watched.story).toEqual(['+a=1', '-a', '+a=2', '+b=1']);
  });

  test('notices a half-open connection, on which nothing comes through any more', async () => {
    const { client, proxy } = await proxied();
    const watched = watch(client, { silenceMs: 4_000 });
    await watched.informer.synced;
    proxy.freeze();
    await create('a');
    await watched.until('a', () => watched.names.includes('a'));
    expect(watched.problems.map((problem) => problem.error.name)).toContain('SilentWatch');
  });
});

/** The real clock, but for waits of up to 20 s, which end at once: back-offs. */
const impatientClock: Clock = {
  ...systemClock,
  setTimeout: (callback, ms) => systemClock.setTimeout(callback, ms <= 20_000 ? 0 : ms),
};

/** What a leak would be made of, after a garbage collection. */
function held() {
  const count = (type: unknown) =>
    queryObjects(type as Parameters<typeof queryObjects>[0], { format: 'count' });
  const resources = process.getActiveResourcesInfo();
  return {
    abortSignals: count(AbortSignal),
    sockets: count(Socket),
    openSockets: resources.filter((name) => name === 'TCPSocketWrap').length,
    timers: resources.filter((name) => name === 'Timeout').length,
    heap: process.memoryUsage().heapUsed,
  };
}

test('a thousand restarts of the watch leave nothing behind', async () => {
  const stop = new AbortController();
  const { client, proxy } = await proxied({ signal: stop.signal });
  const watched = watch(client, { clock: impatientClock });
  await watched.informer.synced;
  const restart = async (rounds: number) => {
    for (let round = 0; round < rounds; round += 1) {
      const seen = watched.problems.length;
      const { lastContact } = watched.informer;
      proxy.cut();
      await watched.until('the break', () => watched.problems.length > seen);
      // Until the next watch is open, and not only its connection.
      while (watched.informer.lastContact === lastContact)
        await new Promise((resolve) => setImmediate(resolve));
      watched.problems.length = 0;
    }
    const marker = await create(`after-${crypto.randomUUID()}`);
    await watched.until('the marker', () => watched.names.includes(marker.metadata.name));
    return held();
  };
  const before = await restart(100);
  const after = await restart(1_000);
  for (const what of ['abortSignals', 'sockets', 'openSockets', 'timers'] as const) {
    expect({ what, more: after[what] - before[what] }).toEqual({
      what,
      more: expect.toSatisfy((n) => n <= 10),
    });
  }
  expect(after.heap - before.heap).toBeLessThan(8 * 1024 * 1024);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1);
}, 180_000);
