import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const lose = (): void => world.hostChanged({ leaseFresh: false });
const daemonWrites = (): number => world.runners.writes.filter(({ by }) => by === 'daemon').length;

/** Nothing is written or destroyed while the Lease is lost; the world holds the daemon to the rest. */
async function withoutLease(meanwhile: () => void = () => {}): Promise<void> {
  lose();
  const before = { writes: daemonWrites(), running: world.machine.running() };
  meanwhile();
  await world.pass(60_000);
  expect({ writes: daemonWrites(), running: world.machine.running() }).toEqual(before);
}

describe('a Lease that is lost', () => {
  test('before a launch: nothing is begun before it is back', async () => {
    await world.start();
    await withoutLease(() => world.bound('r'));
    expect(world.onDisk()).toEqual([]);
    world.hostChanged({ leaseFresh: true });
    await world.untilReady('r');
  });

  test('while the template is cloned: nothing is spawned before it is back', async () => {
    const goOn = world.holdBack('runtime.prepare');
    await world.start();
    world.bound('r');
    await world.settle();
    await withoutLease(goOn);
    world.hostChanged({ leaseFresh: true });
    await world.untilReady('r');
  });

  test('while the VM boots: the gate is not passed before it is back', async () => {
    world.guests.sshUp = false;
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Booting');
    await withoutLease(() => {
      world.guests.sshUp = true;
      world.guests.changed();
    });
    expect(world.guests.given).toEqual([]);
    world.hostChanged({ leaseFresh: true });
    await world.untilReady('r');
  });

  test('while the script runs: it runs on, and its end is told when the Lease is back', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = world.bound('r', { completion: 'Script' });
    await world.untilPhase('r', 'Running');
    await withoutLease(() => world.guests.exit(world.paths(metadata.uid), 0, 'bye'));
    world.hostChanged({ leaseFresh: true });
    const { status } = await world.untilPhase('r', 'Finished');
    expect(status?.setup).toEqual({ exitCode: 0, outputTail: 'bye' });
  });

  test('before a deletion: the VM runs on, and nobody looks at it all the time', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    await withoutLease(() => world.runners.delete('r'));
    expect(world.machine.running()).toHaveLength(1);
    const looks = () => world.daemon?.life.count('bundles.list');
    const before = looks() ?? 0;
    await world.pass(10 * 60_000);
    expect(looks()).toBeLessThan(before + 150);
    world.hostChanged({ leaseFresh: true });
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
  });

  test('and that comes back without anybody telling is noticed', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    lose();
    world.runners.delete('r');
    await world.pass(60_000);
    world.host.leaseFresh = true;
    await world.pass(6_000);
    expect(world.get('r')).toBeUndefined();
  });

  test('while a purge is tried again: it is tried no more before the Lease is back', async () => {
    world.machine.fail('purge', new Error('the process cannot be seen'));
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    world.runners.delete('r');
    await world.settle();
    await withoutLease();
    expect(world.machine.running()).toHaveLength(1);
    world.hostChanged({ leaseFresh: true });
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
  });

  test('during a purge: its finalizer stays until the Lease is back', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    const goOn = world.holdBack('bundles.purgeFiles');
    world.runners.delete('r');
    await world.settle();
    await withoutLease(goOn);
    expect(world.get('r')?.metadata.finalizers).toHaveLength(1);
    world.hostChanged({ leaseFresh: true });
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
  });
});
