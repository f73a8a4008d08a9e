import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
  world.guests.exitsAtOnce = undefined;
});
afterEach(() => world.close());

const DAY_MS = 86_400_000;
const spec = { activeDeadlineSeconds: 60 };

/** Waits until it is over for that reason and nothing is left. Returns how long after its creation it was told. */
async function endedAfter(began: number): Promise<number> {
  await world.untilPhase('r', 'Error');
  const tookMs = world.clock.monotonic() - began;
  for (const type of ['Stalled', 'Finished']) {
    expect(world.condition('r', type)).toMatchObject({ status: 'True', reason: 'DeadlineExceeded' });
  }
  expect(world.condition('r', 'Ready')).toBeUndefined();
  await world.untilClean();
  return tookMs;
}

const situations: [string, string, () => void][] = [
  [
    'is cloned',
    'Creating',
    () => {
      world.machine.hang('prepare');
      for (const call of ['runtime.prepare', 'driver.prepare']) world.hanging.add(call);
    },
  ],
  [
    'boots',
    'Booting',
    () => {
      world.guests.sshUp = false;
    },
  ],
  ['runs its script', 'Running', () => undefined],
];

describe('a Runner whose activeDeadlineSeconds pass', () => {
  test.each(situations)('while it %s leaves nothing, and says why', async (_, phase, prepare) => {
    prepare();
    await world.start();
    const began = world.clock.monotonic();
    world.bound('r', spec);
    await world.untilPhase('r', phase);
    await world.pass(59_900 - (world.clock.monotonic() - began));
    expect(world.status('r')?.phase).toBe(phase);
    expect(await endedAfter(began)).toBe(60_000);
    expect(world.condition('r', 'Stalled')?.message).toBe(
      'the Runner was not over 60 s after its creation (activeDeadlineSeconds)',
    );
    await world.expectNoLeak();
  });

  test.each(situations)('while it %s does so by no clock that is set', async (_, phase, prepare) => {
    for (const jump of [DAY_MS, -DAY_MS]) {
      world = jump < 0 ? await anew() : world;
      prepare();
      await world.start();
      const began = world.clock.monotonic();
      world.bound('r', spec);
      await world.untilPhase('r', phase);
      world.clock.jump(jump);
      await world.pass(30_000);
      expect(world.status('r')?.phase).toBe(phase);
      expect(await endedAfter(began)).toBe(60_000);
    }
  });

  test('is not looked at again and again until then', async () => {
    const { life } = await world.start();
    world.bound('r', { activeDeadlineSeconds: 7_200, completion: 'Script' });
    await world.untilPhase('r', 'Running');
    await world.pass(10_000);
    const looks = life.count('bundles.list');
    await world.pass(7_000_000);
    // Once, when timeouts.boot would have been over.
    expect(life.count('bundles.list')).toBe(looks + 1);
    await world.untilPhase('r', 'Error');
    expect(life.count('bundles.list')).toBeLessThan(looks + 20);
  });

  test('on a host that waits for its Lease is told of when it is back', async () => {
    await world.start();
    world.hostChanged({ leaseFresh: false });
    world.bound('r', spec);
    // Without a bundle no session holds the time: a clock that is set must not, either.
    await world.pass(1_000);
    world.clock.jump(DAY_MS);
    await world.pass(30_000);
    world.hostChanged({ leaseFresh: true });
    await world.untilPhase('r', 'Running');
    world.hostChanged({ leaseFresh: false });
    await world.pass(60_000);
    expect(world.status('r')?.phase).toBe('Running');
    world.hostChanged({ leaseFresh: true });
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('DeadlineExceeded');
  });

  test('while no daemon is there is over as soon as one is', async () => {
    await world.start();
    world.bound('r', spec);
    await world.untilPhase('r', 'Running');
    await world.kill();
    await world.pass(120_000);
    await world.start();
    const began = world.clock.monotonic();
    expect(await endedAfter(began)).toBeLessThan(1_000);
  });
});

describe('activeDeadlineSeconds of a Runner that runs', () => {
  beforeEach(async () => {
    await world.start();
    world.bound('r', spec);
    await world.untilPhase('r', 'Running');
    await world.pass(30_000);
  });
  const setTo = (activeDeadlineSeconds: number | null) =>
    world.runners.patch('r', { spec: { activeDeadlineSeconds } });

  test('that are lowered below its age end it at once', async () => {
    const began = world.clock.monotonic();
    setTo(20);
    expect(await endedAfter(began)).toBeLessThan(1_000);
  });

  test('that are raised prolong it', async () => {
    setTo(120);
    await world.pass(60_000);
    expect(world.status('r')?.phase).toBe('Running');
    const began = world.clock.monotonic();
    expect(await endedAfter(began)).toBeLessThan(31_000);
  });

  test('that are removed end it no more', async () => {
    setTo(null);
    await world.pass(1_000_000);
    expect(world.status('r')?.phase).toBe('Running');
  });

  test('that are raised when it has ended change nothing', async () => {
    await world.untilPhase('r', 'Error');
    await world.untilClean();
    setTo(3_600);
    await world.pass(60_000);
    expect(world.status('r')?.phase).toBe('Error');
    expect(world.machine.running()).toEqual([]);
  });
});

async function anew(): Promise<World> {
  await world.close();
  const next = await World.open();
  next.guests.exitsAtOnce = undefined;
  return next;
}
