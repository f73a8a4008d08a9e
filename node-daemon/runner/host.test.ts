import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const isEmpty = () => world.daemon?.controller.isEmpty();

describe.each(['deleting', 'vanished'] as const)('a host object that is %s', (state) => {
  test('ends its Runners, and is waited for until each of them was told', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    world.bound('runs');
    await world.untilPhase('runs', 'Running');
    const goOn = world.holdBack('api.template');
    world.bound('begins');
    await world.settle();
    const tell = world.holdBack('api.writeStatus');
    world.hostChanged({ state });
    await world.settle();
    goOn();
    await world.pass(10_000);
    expect(world.machine.running()).toEqual([]);
    expect(await isEmpty()).toBe(false);
    tell();
    await world.untilPhase('runs', 'Error');
    await world.untilPhase('begins', 'Error');
    await world.untilClean();
    expect(world.condition('begins', 'Stalled')?.reason).toBe('HostDeleted');
    expect(world.condition('runs', 'Stalled')?.reason).toBe('HostDeleted');
    expect(await isEmpty()).toBe(true);
  });

  test('is waited for until a Runner that was never begun was told', async () => {
    world.hostChanged({ leaseFresh: false });
    await world.start();
    world.bound('waits');
    await world.settle();
    world.hostChanged({ state });
    await world.pass(10_000);
    expect(world.onDisk()).toEqual([]);
    expect(await isEmpty()).toBe(false);
    world.hostChanged({ leaseFresh: true });
    await world.untilPhase('waits', 'Error');
    await world.untilClean();
    expect(await isEmpty()).toBe(true);
  });
});
