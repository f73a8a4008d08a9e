import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const HOUR_MS = 3_600_000;

describe('a wall clock that is set', () => {
  test.each([HOUR_MS, -HOUR_MS])('by %d ms neither ends a boot nor counts as part of it', async (jump) => {
    world.guests.sshUp = false;
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Booting');
    await world.pass(2_000);
    world.clock.jump(jump);
    await world.pass(3_000);
    expect(world.status('r')?.phase).toBe('Booting');
    world.guests.sshUp = true;
    world.guests.changed();
    const { status } = await world.untilReady('r');
    expect(status?.timings?.bootToSshMs).toBe(5_000);
  });

  test.each([HOUR_MS, -HOUR_MS])('by %d ms leaves timeouts.setup as it is', async (jump) => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    world.bound('r', { timeouts: { setup: '60s' } });
    await world.untilPhase('r', 'Running');
    const began = world.clock.monotonic();
    world.clock.jump(jump);
    await world.pass(30_000);
    expect(world.status('r')?.phase).toBe('Running');
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('SetupTimeout');
    expect(world.clock.monotonic() - began).toBeLessThan(61_000);
  });

  test('does not make a setup take less than no time', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilPhase('r', 'Running');
    world.clock.jump(-HOUR_MS);
    await world.pass(1_000);
    world.guests.exit(world.paths(metadata.uid), 0);
    const { status } = await world.untilReady('r');
    expect(status?.timings?.setupMs).toBeGreaterThanOrEqual(1_000);
    expect(status?.timings?.setupMs).toBeLessThan(10_000);
  });
});
