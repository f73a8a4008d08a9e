import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import type { KubeClient } from '../../kube/client.ts';
import { ApiUnreachable } from '../../kube/errors.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { testClient } from '../harness/control-plane.ts';
import { until } from '../harness/until.ts';
import { hosts } from './host-fixture.ts';
import { conditionOf, DaemonWorld } from './node-daemon-world.ts';

const client = testClient();
let world: DaemonWorld;
beforeEach(async () => {
  world = await DaemonWorld.open(client);
});
afterEach(() => world.close());
afterAll(() => client.close());

describe('a life', () => {
  test('is told as the API server accepts it, from the binding to nothing left', async () => {
    await world.start();
    const { metadata } = await world.createBound('r');
    const { status } = await world.untilReady('r');
    expect(status).toMatchObject({
      phase: 'Running',
      attempt: 1,
      scriptAttempt: 1,
      setup: { exitCode: 0, outputTail: '' },
      ssh: { user: 'runner', port: 2222 },
      timings: { cloneMs: expect.any(Number), bootToSshMs: expect.any(Number), setupMs: expect.any(Number) },
    });
    await until('the state file', async () => (await world.state()).runners.length === 1);
    expect(world.guests.given).toEqual([{ uid: metadata.uid, attempt: 1, script: 'echo hello' }]);
    await world.delete('r');
    await world.untilGone('r');
    await world.untilClean();
    expect(world.machine.running()).toEqual([]);
    await until('the state file', async () => (await world.state()).runners.length === 0);
  });

  test('goes on with another daemon where the last one left it', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = await world.createBound('r', { completion: 'Script' });
    await world.untilPhase('r', 'Running');
    await world.stop();
    expect(world.machine.running()).toHaveLength(1);
    world.guests.exit(world.paths(metadata.uid), 0, 'bye');
    await world.start();
    const { status } = await world.untilPhase('r', 'Finished');
    expect(status?.setup).toEqual({ exitCode: 0, outputTail: 'bye' });
    await world.untilClean();
    expect((await world.get('r'))?.metadata.finalizers).toBeUndefined();
  });

  test('ends in words that the API server accepts, however long they are', async () => {
    world.machine.fail('prepare', new Error(`${'no '.repeat(2_000)}luck`));
    await world.start();
    await world.createBound('r');
    const runner = await world.untilPhase('r', 'Error');
    expect(conditionOf(runner, 'Stalled')?.reason).toBe('CloneFailed');
  });

  test('ends at its deadline, which may be moved while it runs', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    for (const name of ['kept', 'late', 'lowered']) {
      await world.createBound(name, { activeDeadlineSeconds: name === 'lowered' ? 3_600 : 5 });
    }
    await world.edit('kept', { spec: { activeDeadlineSeconds: 3_600 } });
    await world.untilPhase('lowered', 'Running');
    await world.edit('lowered', { spec: { activeDeadlineSeconds: 1 } });
    for (const name of ['late', 'lowered']) {
      const runner = await world.untilPhase(name, 'Error');
      expect(conditionOf(runner, 'Stalled')?.reason).toBe('DeadlineExceeded');
      const livedMs =
        Date.parse(runner.status?.finishedAt ?? '') - Date.parse(runner.metadata.creationTimestamp);
      expect(livedMs).toBeGreaterThanOrEqual(name === 'late' ? 5_000 : 1_000);
    }
    await world.untilPhase('kept', 'Running');
    expect(world.machine.running()).toHaveLength(1);
  });

  test('of a job is followed by the reports of its guest', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = await world.createBound('r', { completion: 'Job' });
    await world.untilPhase('r', 'Running');
    await report(metadata.uid, 'Idle');
    expect((await world.untilReady('r')).status?.guest).toEqual({ state: 'Idle' });
    await report(metadata.uid, 'Finished');
    const runner = await world.untilPhase('r', 'Finished');
    expect(conditionOf(runner, 'Finished')?.reason).toBe('JobFinished');
  });
});

/** What the agent in the guest sends, by what the host put on its seed disk. */
async function report(uid: string, state: string): Promise<void> {
  const { guestToken, metadata } = world.paths(uid);
  const { prepared } = JSON.parse(await readFile(metadata, 'utf8'));
  const response = await fetch(`http://127.0.0.1:${prepared.spec.notifyPort}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await readFile(guestToken, 'utf8')}` },
    body: JSON.stringify({ mac: prepared.endpoints.mac, ip: '10.0.2.15', event: 'State', state }),
  });
  expect(response.status).toBe(204);
}

describe('a start that fails', () => {
  test('is told as the API server accepts it, and the next one succeeds', async () => {
    world.machine.fail('prepare', new Error(`${'no '.repeat(2_000)}luck`));
    await world.start();
    await world.createBound('r', { startAttempts: 2 });
    const failed = await world.untilIs('r', 'let go', (one) => one?.metadata.finalizers === undefined);
    expect(failed?.status).toMatchObject({
      phase: 'Pending',
      attempts: [{ attempt: 1, hostName: world.hostName, reason: 'CloneFailed' }],
    });
    expect(conditionOf(failed, 'Bound')).toMatchObject({ status: 'False', reason: 'AttemptFailed' });
    await world.untilClean();
    await world.bind('r');
    const { status } = await world.untilReady('r');
    expect(status).toMatchObject({ attempt: 2, scriptAttempt: 2, attempts: [{ attempt: 1 }] });
  });

  test('for want of room on the host costs nothing', async () => {
    await world.start();
    const host = await hosts(client).get({ name: world.hostName });
    if (host === undefined) throw new Error('there is no host');
    const { metadata } = host;
    await hosts(client).patch(metadata, metadata.resourceVersion, { spec: { maxRunners: 1 } });
    await until('the daemon to have taken it over', async () => {
      const { status } = (await hosts(client).get({ name: world.hostName })) ?? {};
      return status?.allocatable?.runners === 1;
    });
    await world.createBound('first');
    await world.untilReady('first');
    await world.createBound('second', { startAttempts: 1 });
    const back = await world.untilIs('second', 'let go', (one) => one?.metadata.finalizers === undefined);
    expect(back?.status).toMatchObject({ phase: 'Pending', attempts: [{ reason: 'OutOfCapacity' }] });
    expect(world.machine.running()).toHaveLength(1);
  });

  test('for the last time is the end', async () => {
    world.machine.fail('spawn', new Error('no'), 2);
    await world.start();
    await world.createBound('r', { startAttempts: 2 });
    await world.untilIs('r', 'let go', (one) => one?.metadata.finalizers === undefined);
    await world.bind('r');
    const { status } = await world.untilPhase('r', 'Error');
    expect(status?.attempts).toHaveLength(2);
  });
});

describe('a finalizer of this host on a Runner bound elsewhere', () => {
  const other = { name: 'another-host', uid: 'another-uid' };

  test('goes when the binding moves while the daemon is away', async () => {
    await world.start();
    await world.stop();
    await world.createBound('r');
    await world.bind('r', other);
    await world.start();
    const own = finalizerName(world.hostName, 1);
    const released = await world.untilIs(
      'r',
      'let go',
      (runner) => !runner?.metadata.finalizers?.includes(own),
    );
    expect(released?.metadata.finalizers).toEqual([finalizerName(other.name, 2)]);
  });

  test('goes when the binding moves under the eyes of the daemon, after what runs here', async () => {
    world.guests.sshUp = false;
    await world.start();
    await world.createBound('r');
    await world.untilPhase('r', 'Booting');
    await world.bind('r', other);
    const own = finalizerName(world.hostName, 1);
    await world.untilIs('r', 'let go', (runner) => !runner?.metadata.finalizers?.includes(own));
    expect(world.machine.running()).toEqual([]);
    await world.untilClean();
  });
});

describe('a bundle of a Runner that the watch does not show', () => {
  /** The same client; Runners can be neither read nor listed while `isAway` says so. */
  function withoutReads(isAway: () => boolean): KubeClient {
    const unlessAway = async <R>(call: () => Promise<R>): Promise<R> => {
      if (isAway()) throw new ApiUnreachable('https://api', 'Timeout', 'no answer in time');
      return await call();
    };
    const resources = <T extends KubeObject>(type: ResourceType<T>): Resources<T> => {
      const real = client.resources(type);
      if (type.kind !== 'Runner') return real;
      return {
        get: (ref) => unlessAway(() => real.get(ref)),
        list: (options) => unlessAway(() => real.list(options)),
        create: (object: T) => real.create(object),
        patch: (ref, version, patch) => real.patch(ref, version, patch),
        patchStatus: (ref, version, patch) => real.patchStatus(ref, version, patch),
        delete: (ref, options) => real.delete(ref, options),
      };
    };
    return { ...client, server: client.server, resources };
  }

  test('is purged only once a quorum read says that the Runner is gone', async () => {
    await world.start();
    await world.createBound('r');
    await world.untilReady('r');
    await world.stop();
    await world.edit('r', { metadata: { finalizers: [] } });
    await world.delete('r');
    let isAway = true;
    await world.start(withoutReads(() => isAway));
    await until('the daemon to have asked', async () => world.log.lines.length > 0);
    expect(world.machine.running()).toHaveLength(1);
    expect(await world.onDisk()).toHaveLength(1);
    isAway = false;
    await world.untilClean();
    expect(world.machine.running()).toEqual([]);
  });

  test('and of which nothing can be read is purged, too, unless a Runner of its UID is bound here', async () => {
    await world.start();
    const { metadata } = await world.createBound('r');
    await world.untilReady('r');
    await world.stop();
    const nobody = world.paths('00000000-0000-0000-0000-000000000000');
    await mkdir(nobody.dir);
    await writeFile(nobody.metadata, '{');
    await world.start();
    await until('the bundle to go', async () => (await world.onDisk()).length === 1);
    expect(await world.onDisk()).toEqual([`${metadata.uid}.1.bundle`]);
    expect(world.machine.running()).toHaveLength(1);
  });
});

describe('a host object that is deleted', () => {
  test('takes its Runners with it, and comes back as another', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    await world.createBound('r');
    await world.untilPhase('r', 'Running');
    const uid = await world.hostUid();
    await hosts(client).delete({ name: world.hostName });
    const runner = await world.untilPhase('r', 'Error');
    expect(conditionOf(runner, 'Stalled')?.reason).toBe('HostDeleted');
    expect(world.machine.running()).toEqual([]);
    await world.untilIs('r', 'let go', (one) => one?.metadata.finalizers === undefined);
    await until('another host object', async () => ![uid, ''].includes(await world.hostUid()));
    await world.createBound('next');
    await world.untilPhase('next', 'Running');
  });
});

describe('a daemon that is started', () => {
  /** The same client, whose watches of Runners are never answered. */
  const withoutWatches = (): KubeClient => ({
    ...client,
    server: client.server,
    collection: (type) =>
      type.kind === 'Runner'
        ? { type, listPage: () => new Promise(() => {}), watch: ({ signal }) => silence(signal) }
        : client.collection(type),
  });

  async function* silence(signal: AbortSignal): AsyncGenerator<never, void> {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  test('and stopped before it knows its Runners ends at once, and leaves its root to the next', async () => {
    const stop = new AbortController();
    const starting = world.start(withoutWatches(), stop.signal);
    await until('the host', async () => (await world.hostUid()) !== '');
    stop.abort(new Error('stopped by SIGTERM'));
    await expect(starting).rejects.toThrow('stopped by SIGTERM');
    await world.start();
    await world.createBound('r');
    await world.untilReady('r');
  });

  test('is not kept from it by a bundle that cannot be read', async () => {
    const nobody = world.paths('00000000-0000-0000-0000-000000000000');
    await mkdir(nobody.metadata, { recursive: true });
    await world.start();
    await world.createBound('r');
    await world.untilReady('r');
    expect(await world.onDisk()).toContain(basename(nobody.dir));
  });
});
