import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BundlePaths } from '../vm/driver.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

async function ready(): Promise<BundlePaths> {
  await world.start();
  const { metadata } = world.bound('r');
  await world.untilReady('r');
  return world.paths(metadata.uid);
}

const gone = () => world.until('the Runner to be gone', () => world.get('r') === undefined);

describe('a host root without any room left', () => {
  const fillUp = (): void => {
    let isFull = true;
    world.gates.set('bundles.update', async () => {
      if (isFull) throw new Error('ENOSPC: no space left on device');
    });
    world.gates.set('bundles.purgeFiles', async () => {
      isFull = false;
    });
  };

  test('gives its room back when a Runner is deleted', async () => {
    await ready();
    fillUp();
    world.runners.delete('r');
    await gone();
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('does not keep a Runner from ending as it did', async () => {
    const paths = await ready();
    fillUp();
    world.machine.die(paths);
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
    await world.untilClean();
  });
});

test('a host root that stays without any room tells how a Runner ended all the same', async () => {
  await world.start();
  world.guests.exitsAtOnce = undefined;
  const { metadata } = world.bound('r', { completion: 'Script' });
  await world.untilPhase('r', 'Running');
  world.gates.set('bundles.update', async () => {
    throw new Error('ENOSPC: no space left on device');
  });
  world.guests.exit(world.paths(metadata.uid), 0, 'bye');
  const { status } = await world.untilPhase('r', 'Finished');
  expect(status?.setup).toEqual({ exitCode: 0, outputTail: 'bye' });
  await world.untilClean();
});

describe('a purge that fails', () => {
  test('is tried again at a measured pace, and says why', async () => {
    await ready();
    world.machine.fail('purge', new Error('process 77 is still there after SIGKILL'), 1000);
    world.runners.delete('r');
    await world.pass(10 * 60_000);
    const tries = world.machine.calls.filter(({ verb }) => verb === 'purge').length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(40);
    expect(world.get('r')?.metadata.finalizers).toHaveLength(1);
    expect(world.condition('r', 'Ready')).toMatchObject({
      status: 'False',
      reason: 'PurgeFailing',
      message: expect.stringContaining('process 77 is still there after SIGKILL'),
    });
    const { length } = world.runners.writes;
    await world.pass(10 * 60_000);
    expect(world.runners.writes).toHaveLength(length);
  });

  test('ends with its daemon, and is gone on with by the next', async () => {
    await ready();
    world.machine.fail('purge', new Error('process 77 is still there after SIGKILL'), 3);
    world.runners.delete('r');
    await world.pass(100);
    await world.daemon?.stop();
    const tries = () => world.machine.calls.filter(({ verb }) => verb === 'purge').length;
    const before = tries();
    await world.pass(10 * 60_000);
    expect(tries()).toBe(before);
    expect(world.daemon?.life.timers).toBe(0);
    await world.start();
    await gone();
    await world.untilClean();
  });

  test('of files is tried again without looking for the process in vain', async () => {
    const paths = await ready();
    let failures = 0;
    world.gates.set('bundles.purgeFiles', async () => {
      failures += 1;
      if (failures <= 3) throw new Error('EBUSY: resource busy');
    });
    world.runners.delete('r');
    await gone();
    expect(world.machine.running()).not.toContain(paths.dir);
    await world.untilClean();
  });
});

test('a daemon that is stopped in the middle of anything leaves its VMs, and no work', async () => {
  for (const call of ['api.template', 'runtime.prepare', 'guests.login', 'guest.startScript']) {
    const goOn = world.holdBack(call);
    await world.start();
    const { metadata } = world.bound(`stopped-at-${call.replaceAll('.', '-').toLowerCase()}`);
    await world.pass(1_000);
    const stopping = world.daemon?.stop();
    goOn();
    await stopping;
    await world.settle();
    expect(world.daemon?.life.timers, call).toBe(0);
    expect(world.guests.openSessions, call).toBe(0);
    expect([...world.expected.keys()], call).toEqual([]);
    await world.start();
    await world.until(
      'an end or Ready',
      () =>
        world.condition(metadata.name, 'Ready')?.status === 'True' ||
        world.status(metadata.name)?.phase === 'Error',
    );
    await world.daemon?.stop();
  }
});
