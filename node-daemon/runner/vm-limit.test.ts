import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hasFailed } from '../../crds/attempts.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
  world.machine.vmLimit = 2;
  await world.start();
});
afterEach(() => world.close());

async function failed(name: string) {
  await world.until(`the start of ${name} to have failed`, () => {
    const runner = world.get(name);
    return runner !== undefined && hasFailed(runner);
  });
  return world.status(name)?.attempts?.at(-1);
}

describe("a start that meets the hypervisor's limit", () => {
  test('while no VM runs tells that the host must be rebooted, and costs no attempt', async () => {
    world.machine.leakedSlots = 2;
    world.bound('r', { startAttempts: 1 });
    const message = expect.stringMatching(/none runs here.*code 6/);
    expect(await failed('r')).toMatchObject({ attempt: 1, reason: 'HostNeedsReboot', message });
    expect(world.host.needsReboot).toEqual(message);
    expect(world.status('r')?.phase).toBe('Pending');
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('is told so of two that start at once', async () => {
    world.machine.leakedSlots = 2;
    for (const name of ['a', 'b']) world.bound(name, { startAttempts: 1 });
    for (const name of ['a', 'b']) expect(await failed(name)).toMatchObject({ reason: 'HostNeedsReboot' });
    await world.untilClean();
  });

  test('while another VM runs is sent elsewhere, and the host goes on', async () => {
    world.machine.leakedSlots = 1;
    world.bound('first');
    await world.untilReady('first');
    world.bound('second', { startAttempts: 1 });
    expect(await failed('second')).toMatchObject({ reason: 'OutOfCapacity' });
    expect(world.host.needsReboot).toBeUndefined();
    expect(world.machine.running()).toHaveLength(1);
  });

  test('while it is not known whether another runs condemns no host', async () => {
    world.bound('first');
    const { metadata } = await world.untilReady('first');
    world.machine.leakedSlots = 1;
    world.machine.killSocket(world.paths(metadata.uid));
    world.bound('second', { startAttempts: 1 });
    expect(await failed('second')).toMatchObject({ reason: 'OutOfCapacity' });
    expect(world.host.needsReboot).toBeUndefined();
  });
});
