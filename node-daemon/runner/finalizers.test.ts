import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import { ApiError } from '../../kube/errors.ts';
import { unreachable } from './testing/fake-client.ts';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const OTHER = { name: 'host-b', uid: 'other-uid' };
const own = (attempt: number): string => finalizerName(world.host.name, attempt);
const finalizers = (): string[] => world.get('r')?.metadata.finalizers ?? [];
const rebind = (): void => void world.runners.bind('r', OTHER, DIGEST);

describe('a finalizer of this host on a Runner that is bound elsewhere', () => {
  test('goes when the binding moves on, though nothing was ever made here', async () => {
    await world.start();
    world.hostChanged({ leaseFresh: false });
    world.bound('r');
    await world.settle();
    rebind();
    await world.settle();
    expect(finalizers()).toEqual([own(1), finalizerName('host-b', 2)]);
    world.hostChanged({ leaseFresh: true });
    await world.settle();
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });

  test('goes when the binding moved while no daemon was there to see it', async () => {
    world.bound('r');
    rebind();
    await world.start();
    await world.settle();
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });

  test('goes with what was made here, and after it', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    rebind();
    await world.until('the finalizer to go', () => !finalizers().includes(own(1)));
    expect(world.machine.running()).toEqual([]);
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });

  test('goes when the binding came and went while the Lease was lost, unseen by the watch', async () => {
    await world.start();
    await world.settle();
    world.hostChanged({ leaseFresh: false });
    world.runners.create('r');
    world.runners.create('other');
    const binding = { ...world.runners.bind('other', OTHER, DIGEST).spec.binding, attempt: 2 };
    world.runners.patch('r', {
      metadata: { finalizers: [own(1), finalizerName('host-b', 2)] },
      spec: { binding },
    });
    await world.settle();
    expect(finalizers()).toContain(own(1));
    world.hostChanged({ leaseFresh: true });
    await world.settle();
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });

  test('goes when it came unseen to a Runner that the watch, which is behind, shows as bound here', async () => {
    await world.start();
    world.bound('r');
    world.runners.patch('r', { metadata: { finalizers: [] } });
    await world.settle();
    world.hostChanged({ leaseFresh: false });
    world.client.setOutage(unreachable());
    await world.settle();
    world.runners.patch('r', { metadata: { finalizers: [own(1)] } });
    rebind();
    world.client.setOutage(undefined);
    world.client.fail('watch', new ApiError(410, 'Expired', 'too old resource version'));
    world.hostChanged({ leaseFresh: true });
    await world.pass(60_000);
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });

  test('is looked for until the API server answers', async () => {
    world.bound('r');
    rebind();
    world.client.fail('list', unreachable(), { times: 3 });
    await world.start();
    await world.until('the finalizer to go', () => !finalizers().includes(own(1)));
  });

  test('is let go of when the API server answers again', async () => {
    world.bound('r');
    rebind();
    world.client.fail('get', unreachable(), { times: 3 });
    world.client.fail('patch', unreachable(), { times: 2 });
    await world.start();
    await world.until('the finalizer to go', () => !finalizers().includes(own(1)));
    await world.expectNoLeak();
  });

  test('stays while the host object of the name is another one, and goes once it is ours again', async () => {
    // Another machine has taken the name; its VM may run there.
    world.runners.create('r');
    world.runners.bind('r', { name: world.host.name, uid: 'their-uid' }, DIGEST);
    world.hostChanged({ state: 'vanished' });
    await world.start();
    await world.pass(60_000);
    expect(finalizers()).toEqual([own(1)]);
    world.hostChanged({ state: 'live', uid: 'new-uid' });
    await world.pass(1_000);
    expect(finalizers()).toEqual([]);
  });

  test('of a former host object goes when this machine has registered anew', async () => {
    world.bound('r');
    rebind();
    world.hostChanged({ state: 'vanished', uid: 'former-uid' });
    await world.start();
    await world.pass(60_000);
    expect(finalizers()).toContain(own(1));
    world.hostChanged({ state: 'live', uid: 'new-uid' });
    await world.pass(1_000);
    expect(finalizers()).toEqual([finalizerName('host-b', 2)]);
    await world.expectNoLeak();
  });
});

describe('a Runner of which this host was declared dead, before it heard of that', () => {
  test('is not permitted to run its script when the host is back, and starts anew', async () => {
    world.guests.sshUp = false;
    await world.start();
    world.bound('r', { startAttempts: 3 });
    await world.untilPhase('r', 'Booting');
    world.hostChanged({ leaseFresh: false });
    world.runners.patch('r', { metadata: { finalizers: [] } });
    world.guests.sshUp = true;
    await world.pass(60_000);
    world.hostChanged({ leaseFresh: true });
    await world.until('the attempt to have failed', () => world.status('r')?.attempts !== undefined);
    expect(world.status('r')?.attempts).toMatchObject([{ attempt: 1, reason: 'HostDeleted' }]);
    expect(world.status('r')).not.toHaveProperty('scriptAttempt');
    await world.untilClean();
  });

  test('gets no VM', async () => {
    await world.start();
    const goOn = world.holdBack('runtime.prepare');
    world.bound('r', { startAttempts: 3 });
    await world.settle();
    world.runners.patch('r', { metadata: { finalizers: [] } });
    goOn();
    await world.until('the attempt to have failed', () => world.status('r')?.attempts !== undefined);
    expect(world.machine.calls.map(({ verb }) => verb)).not.toContain('spawn');
    await world.untilClean();
  });

  test('goes on where its script runs, until somebody says how it ended', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilPhase('r', 'Running');
    world.runners.patch('r', { metadata: { finalizers: [] } });
    await world.pass(60_000);
    expect(world.machine.running()).toHaveLength(1);
    world.runners.patch('r', { status: { phase: 'Error' } });
    await world.until('the VM to go', () => world.machine.running().length === 0);
    expect(world.onDisk()).not.toContain(`${metadata.uid}.1.bundle`);
  });
});

test('several of them go in one pass when the Runner is over', async () => {
  const { metadata } = world.bound('r', { completion: 'Script' });
  world.runners.bind('r', world.host, DIGEST);
  await world.start();
  await world.untilPhase('r', 'Finished');
  await world.untilClean();
  expect(finalizers()).toEqual([]);
  const patches = world.runners.writes.filter(({ by, verb }) => by === 'daemon' && verb === 'patch');
  expect(patches).toHaveLength(2);
  expect(world.client.calls.filter((call) => call === 'patch')).toHaveLength(2);
  expect(world.onDisk()).not.toContain(`${metadata.uid}.2.bundle`);
});

test('finalizers of others are left alone', async () => {
  const others = [
    finalizerName('host-a.b', 1),
    finalizerName('host', 1),
    'vm.shoesvz.dev/host-a.x',
    'vm.shoesvz.dev/host-a.01',
    'example.com/audit',
  ];
  world.runners.create('r');
  world.runners.patch('r', { metadata: { finalizers: others } });
  world.runners.bind('r', OTHER, DIGEST);
  await world.start();
  await world.pass(60_000);
  expect(finalizers()).toEqual([...others, finalizerName('host-b', 1)]);
});
