import { expect, test } from 'vitest';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { SimClient } from '../../test/simulation/api-server/client.ts';
import { Frontend } from '../../test/simulation/api-server/frontend.ts';
import { Link } from '../../test/simulation/api-server/link.ts';
import { ApiServer } from '../../test/simulation/api-server/server.ts';
import { EPOCH, Life } from '../../test/simulation/life.ts';
import { Random } from '../../test/simulation/random.ts';
import { Timeline } from '../../test/simulation/timeline.ts';
import { openHostSession } from './open.ts';
import type { HostSession } from './session.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** A host named `h` over a simulated API server. */
async function opened() {
  const timeline = new Timeline();
  const random = new Random(1);
  const server = new ApiServer({
    now: () => EPOCH + timeline.now,
    uid: () => random.uuid(),
    namespaces: [SYSTEM_NAMESPACE],
  });
  const frontend = new Frontend(server, timeline, random);
  const link = new Link(random);
  const machine = { wallErrorMs: 0, bootedAt: 0 };
  const life = new Life({ name: 'h', number: 1, timeline, random, machine, diesAt: () => false });
  let session: HostSession | undefined;
  const opening = openHostSession({
    root: { path: '/root', machineId: 'm' },
    name: 'h',
    client: new SimClient({ timeline, frontend, link, life }),
    driver: { name: 'fake', probe: async () => ({ version: '1', accelerator: 'fake', reflink: true }) },
    machine: {
      ...{ os: 'linux', arch: 'amd64', osVersion: '', cpus: 4, memoryBytes: 2 ** 34, diskBytes: 2 ** 36 },
    },
    disk: {
      inventory: {
        listing: () => ({ published: new Map(), problems: new Map() }),
        settled: Promise.resolve(),
        onChange: () => () => undefined,
        start: async () => undefined,
        stop: async () => undefined,
      },
      rebootNote: {
        read: async () => undefined,
        replace: async () => undefined,
        remove: async () => undefined,
      },
      readVolume: async () => ({ totalBytes: 2 ** 36, freeBytes: 2 ** 35 }),
    },
    bootId: async () => 'boot',
    daemonVersion: '0',
    heldUids: new Set(),
    log: quiet,
    clock: life.clock,
  }).then((open) => {
    session = open;
  });
  await timeline.run(() => session !== undefined);
  await opening;
  return { timeline, server, link, session: session as unknown as HostSession };
}

test('a host that was declared dead while it was away knows so before it may act again', async () => {
  const { timeline, server, link, session } = await opened();
  const uid = session.uid();
  expect([session.leaseFresh(), session.state()]).toEqual([true, 'live']);
  const cutUntil = timeline.now + 60_000;
  link.passes = 'none';
  await timeline.run(() => timeline.now > cutUntil);
  expect(session.leaseFresh()).toBe(false);
  server.delete('user', 'LinuxHost', { name: 'h' });
  server.patch('controller', 'LinuxHost', { name: 'h' }, { metadata: { finalizers: [] } });
  server.delete('controller', 'Lease', { namespace: SYSTEM_NAMESPACE, name: 'h' });
  // Its watches are slow to show that.
  link.watchLagMs = 300_000;
  link.heal();
  await timeline.run(() => session.leaseFresh());
  expect([session.uid(), session.state()]).toEqual([uid, 'vanished']);
  const later = timeline.now + 60_000;
  await timeline.run(() => session.state() === 'live' || timeline.now > later);
  expect([session.uid(), session.state()]).toEqual([uid, 'vanished']);
});
