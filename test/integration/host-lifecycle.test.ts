import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { HOST_FINALIZER } from '../../crds/host.ts';
import { API_VERSION, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { isConflict } from '../../kube/errors.ts';
import { LEASES } from '../../kube/lease.ts';
import type { HostSession } from '../../node-daemon/host/session.ts';
import { testClient, uniqueName } from '../harness/control-plane.ts';
import { edit, ensureSystemNamespace, hosts, readyOf, TestHosts } from './host-fixture.ts';

const client = testClient();
const daemons = new TestHosts(client);
beforeAll(() => ensureSystemNamespace(client));
afterEach(() => daemons.close());
afterAll(() => client.close());

const stored = async (name: string) => await hosts(client).get({ name });
const poll = (probe: () => unknown) => expect.poll(probe, { timeout: 15_000, interval: 50 });

/** Resolves as soon as the session says so, by its own events. */
const until = (session: HostSession, holds: () => boolean): Promise<void> =>
  new Promise((resolve) => {
    const stop = session.onChange(() => {
      if (!holds()) return;
      stop();
      resolve();
    });
    if (holds()) {
      stop();
      resolve();
    }
  });

describe('a host object that is deleted under a live daemon', () => {
  test('stays until everything is purged; then the machine registers anew', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name, { initial: { spec: { maxRunners: 2 }, labels: {} } });
    const uid = session.uid();
    await edit(client, name, () => ({ spec: { maxRunners: 7 } }));
    await hosts(client).delete({ name });
    await until(session, () => session.state() === 'deleting');
    expect(session.uid()).toBe(uid);
    expect(session.unready()).toContain('deleting');
    await poll(async () => readyOf(await stored(name))).toMatchObject({
      status: 'False',
      reason: 'Deleting',
    });
    expect((await stored(name))?.metadata.uid).toBe(uid);

    session.confirmPurged('another-uid');
    await edit(client, name, () => ({ metadata: { labels: { seen: 'yes' } } }));
    await poll(() => session.object()?.metadata.labels?.seen).toBe('yes');
    expect(session.state()).toBe('deleting');

    session.confirmPurged(uid);
    await until(session, () => session.state() === 'live' && session.uid() !== uid);
    const anew = await stored(name);
    expect(anew?.metadata.uid).toBe(session.uid());
    expect(anew?.metadata.finalizers).toEqual([HOST_FINALIZER]);
    expect(anew?.spec).toEqual({ maxRunners: 2 });
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
  });

  test('waits for the finalizers of others after its own', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name);
    const uid = session.uid();
    await edit(client, name, () => ({ metadata: { finalizers: [HOST_FINALIZER, 'example.com/audit'] } }));
    await hosts(client).delete({ name });
    await until(session, () => session.state() === 'deleting');
    session.confirmPurged(uid);
    await poll(async () => (await stored(name))?.metadata.finalizers).toEqual(['example.com/audit']);
    expect(session.uid()).toBe(uid);
    await edit(client, name, () => ({ metadata: { finalizers: [] } }));
    await until(session, () => session.state() === 'live' && session.uid() !== uid);
  });

  test('gone without having been asked: it purges first, and registers anew only then', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name);
    const uid = session.uid();
    await hosts(client).delete({ name });
    // As the controller does for a host whose Lease is stale, or a person with kubectl.
    await edit(client, name, () => ({ metadata: { finalizers: [] } })).catch(() => undefined);
    await until(session, () => session.state() === 'vanished');
    expect(session.uid()).toBe(uid);
    expect(await stored(name)).toBeUndefined();
    session.confirmPurged(uid);
    await until(session, () => session.state() === 'live');
    expect(session.uid()).not.toBe(uid);
    expect((await stored(name))?.metadata.uid).toBe(session.uid());
  });

  test('re-created by someone else at once: the new object is adopted, but only after the purge', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name);
    const uid = session.uid();
    await hosts(client).delete({ name });
    await edit(client, name, () => ({ metadata: { finalizers: [] } })).catch(() => undefined);
    const theirs = await hosts(client).create({
      apiVersion: API_VERSION,
      kind: 'LinuxHost',
      metadata: { name },
      spec: { maxRunners: 9 },
    });
    await until(session, () => session.state() === 'vanished');
    expect(session.uid()).toBe(uid);
    expect((await stored(name))?.status?.conditions).toBeUndefined();
    session.confirmPurged(uid);
    await until(session, () => session.state() === 'live');
    expect(session.uid()).toBe(theirs.metadata.uid);
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
    expect((await stored(name))?.spec).toEqual({ maxRunners: 9 });
  });

  test('a finalizer that somebody removed from a live host comes back', async () => {
    const name = uniqueName('host');
    await daemons.open(name);
    await edit(client, name, () => ({ metadata: { finalizers: null } }));
    await poll(async () => (await stored(name))?.metadata.finalizers).toEqual([HOST_FINALIZER]);
  });
});

describe('VMs that an earlier daemon left', () => {
  test('of a host object that has gone meanwhile are purged before the machine registers', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name, { heldUids: new Set(['0d0d0d0d-gone']) });
    expect(session.state()).toBe('vanished');
    expect(session.uid()).toBe('0d0d0d0d-gone');
    expect(await stored(name)).toBeUndefined();
    session.confirmPurged('0d0d0d0d-gone');
    await until(session, () => session.state() === 'live');
    expect((await stored(name))?.metadata.uid).toBe(session.uid());
  });

  test('of a host object that is dying are purged, and it goes', async () => {
    const name = uniqueName('host');
    const first = await daemons.open(name);
    const uid = first.session.uid();
    await first.session.stop();
    await hosts(client).delete({ name });
    const { session } = await daemons.open(name, { root: first.root, heldUids: new Set([uid]) });
    expect(session.state()).toBe('deleting');
    session.confirmPurged(uid);
    await until(session, () => session.state() === 'live');
    expect(session.uid()).not.toBe(uid);
  });

  test('of an older object of the same name are purged before the new one is adopted', async () => {
    const name = uniqueName('host');
    const first = await daemons.open(name);
    const uid = first.session.uid();
    await first.session.stop();
    const held = new Set([uid, '0d0d0d0d-older']);
    const { session } = await daemons.open(name, { root: first.root, heldUids: held });
    expect(session.state()).toBe('vanished');
    expect(session.uid()).toBe('0d0d0d0d-older');
    session.confirmPurged('0d0d0d0d-older');
    await until(session, () => session.state() === 'live');
    expect(session.uid()).toBe(uid);
  });
});

describe('the Lease', () => {
  const short = { durationMs: 2_000, renewEveryMs: 500 };
  const ref = (name: string) => ({ namespace: SYSTEM_NAMESPACE, name });
  const leases = client.resources(LEASES);

  /** Presents itself as another holder, against a daemon that renews all the time. */
  async function steal(name: string, thief: string, seconds: number): Promise<void> {
    for (;;) {
      const lease = await leases.get(ref(name));
      const renewTime = new Date().toISOString().replace('Z', '000Z');
      const spec = { holderIdentity: thief, leaseDurationSeconds: seconds, renewTime };
      try {
        await leases.patch(ref(name), lease?.metadata.resourceVersion ?? '', { spec });
        return;
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    }
  }

  test('stolen: no longer fresh, nothing is written, and it is taken back when the thief is dead', async () => {
    const name = uniqueName('host');
    const { session, log } = await daemons.open(name, { lease: short });
    await steal(name, 'thief', 3);
    await until(session, () => !session.leaseFresh());
    expect(session.unready()).toContain('Lease');
    const before = await stored(name);
    await edit(client, name, () => ({ spec: { maxRunners: 1 } }));
    await poll(() => session.object()?.spec.maxRunners).toBe(1);
    expect((await stored(name))?.status).toEqual(before?.status);
    await until(session, () => session.leaseFresh());
    await poll(async () => (await stored(name))?.status?.allocatable?.runners).toBe(1);
    expect(log.lines).toContain('another machine took the Lease: nothing is started or destroyed any more');
  });

  test('deleted: made again', async () => {
    const name = uniqueName('host');
    const { session, root } = await daemons.open(name, { lease: short });
    await leases.delete(ref(name));
    await until(session, () => !session.leaseFresh());
    await until(session, () => session.leaseFresh());
    expect((await leases.get(ref(name)))?.spec?.holderIdentity).toBe(root.machineId);
  });

  test("a host deleted while the Lease is another's is left alone, purged or not", async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name, { lease: short });
    const uid = session.uid();
    await steal(name, 'thief', 3);
    await until(session, () => !session.leaseFresh());
    await hosts(client).delete({ name });
    await until(session, () => session.state() === 'deleting');
    session.confirmPurged(uid);
    expect(session.leaseFresh()).toBe(false);
    expect((await stored(name))?.metadata.finalizers).toEqual([HOST_FINALIZER]);
    await until(session, () => session.state() === 'live' && session.uid() !== uid);
    expect(session.leaseFresh()).toBe(true);
  });
});
