import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { testClient, testNamespace } from '../harness/control-plane.ts';
import { Watched } from './kube-world.ts';

/** Under the 90 s after which an informer takes a watch for dead. */
const BOUND_MS = 85_000;

test('an informer hears from an idle collection often enough not to take its watch for dead', async () => {
  const client = testClient();
  const watched = new Watched(client, { namespace: await testNamespace(client) });
  try {
    watched.informer.start();
    await watched.informer.synced;
    const synced = watched.informer.lastContact;
    const deadline = performance.now() + BOUND_MS;
    while (watched.informer.lastContact === synced && performance.now() < deadline) await delay(250);
    expect(watched.informer.lastContact).toBeGreaterThan(synced ?? Number.POSITIVE_INFINITY);
    expect(watched.problems).toEqual([]);
  } finally {
    await watched.informer.stop();
    await client.close();
  }
}, 120_000);
