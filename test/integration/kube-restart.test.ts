import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { ApiUnreachable, isGone } from '../../kube/errors.ts';
import { LEASES, LeaseHolder } from '../../kube/lease.ts';
import type { Resources } from '../../kube/resources.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';
import { compactEtcd } from '../harness/etcd.ts';
import {
  CONFIG_MAPS,
  type ConfigMap,
  configMap,
  type Proxied,
  proxiedClient,
  Watched,
} from './kube-world.ts';

const namespace = 'default';
let controlPlane: TestControlPlane;
let admin: KubeClient;
let maps: Resources<ConfigMap>;
const cleanups: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  controlPlane = await startTestControlPlane();
  cleanups.push(() => controlPlane.destroy());
  admin = loadKubeClient({ kubeconfigPath: controlPlane.kubeconfigPath, userAgent: 'shoes-vz-test/0' });
  cleanups.push(() => admin.close());
  maps = admin.resources(CONFIG_MAPS);
}, 120_000);

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}, 60_000);

function watch(client: KubeClient, options: ConstructorParameters<typeof Watched>[1] = {}): Watched {
  const watched = new Watched(client, { namespace, ...options });
  cleanups.push(() => watched.informer.stop());
  watched.informer.start();
  return watched;
}

async function proxied(): Promise<Proxied> {
  const world = await proxiedClient(controlPlane.kubeconfigPath);
  cleanups.push(() => world.close());
  return world;
}

/** Throws away etcd's history up to now. */
async function compactHistory(): Promise<void> {
  const { resourceVersion } = await maps.list({ namespace });
  await compactEtcd(controlPlane.dataDir, resourceVersion);
}

async function restart(): Promise<void> {
  await controlPlane.stop();
  controlPlane = await controlPlane.restart();
}

describe('when the API server restarts', () => {
  test.each([
    ['while an informer is cut off', false],
    ['while an informer is cut off and history is compacted', true],
  ])(
    '%s, the informer sees all that happened meanwhile',
    async (_, compacts) => {
      const { client, proxy } = await proxied();
      const watched = watch(client);
      for (const name of ['kept', 'reborn', 'doomed']) await maps.create(configMap({ name, namespace }));
      await watched.until('the first three', () => watched.names.length === 3);
      proxy.refusing = true;
      proxy.cut();
      await watched.until('the break', () => watched.problems.length > 0);
      await maps.delete({ namespace, name: 'reborn' });
      await maps.create(configMap({ name: 'reborn', namespace }, '2'));
      await maps.delete({ namespace, name: 'doomed' });
      if (compacts) await compactHistory();
      await restart();
      watched.story.length = 0;
      proxy.refusing = false;
      await watched.until('the deletion', () => watched.story.includes('-doomed'));
      await watched.until('the rebirth', () => watched.story.includes('+reborn=2'));
      expect(watched.problems.map((problem) => problem.error).some(isGone)).toBe(true);
      expect(watched.names).toEqual(['kept', 'reborn']);
      expect(watched.story.indexOf('-reborn')).toBeLessThan(watched.story.indexOf('+reborn=2'));
      expect(watched.story.filter((line) => line.includes('kept'))).toEqual([]);
    },
    120_000,
  );

  test('informers and leases go on by themselves', async () => {
    const watched = watch(admin, { streamingLists: false });
    const told: string[] = [];
    const lease = new LeaseHolder({
      resources: admin.resources(LEASES),
      ref: { namespace, name: 'held' },
      identity: 'a',
      renewEveryMs: 500,
      retryEveryMs: 500,
      onLost: (loss) => told.push(loss),
    });
    cleanups.push(() => lease.stop({ release: false }));
    lease.start();
    await Promise.all([watched.informer.synced, lease.acquired]);
    await controlPlane.stop();
    await watched.until('the outage', () =>
      watched.problems.some(({ error }) => error instanceof ApiUnreachable && error.reason === 'Refused'),
    );
    const before = lease.freshUntil;
    controlPlane = await controlPlane.restart();
    await maps.create(configMap({ name: 'later', namespace }));
    await watched.until('what comes later', () => watched.names.includes('later'));
    while (lease.freshUntil === before) await delay(50);
    expect([told, lease.isFresh, watched.informer.problem]).toEqual([[], true, undefined]);
  }, 120_000);
});

test('history that was compacted is said to be gone', async () => {
  const { resourceVersion } = await maps
    .create(configMap({ name: 'a', namespace }))
    .then((map) => map.metadata);
  for (let value = 0; value < 5; value += 1) {
    const map = await maps.get({ namespace, name: 'a' });
    await maps.patch({ namespace, name: 'a' }, map?.metadata.resourceVersion ?? '', {
      data: { value: `${value}` },
    });
  }
  await compactHistory();
  await restart();
  const collection = admin.collection(CONFIG_MAPS);
  const watching = async () => {
    const { signal } = new AbortController();
    for await (const _ of collection.watch({ namespace, resourceVersion, timeoutSeconds: 5, signal })) {
      expect.unreachable('the history is gone');
    }
  };
  await expect(watching()).rejects.toSatisfy(isGone);
  const token = { v: 'meta.k8s.io/v1', rv: Number(resourceVersion), start: `${namespace}/a\u0000` };
  const continueToken = Buffer.from(JSON.stringify(token)).toString('base64url');
  await expect(collection.listPage({ namespace, limit: 1, continueToken })).rejects.toSatisfy(isGone);
}, 120_000);
