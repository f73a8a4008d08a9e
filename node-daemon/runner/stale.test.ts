import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const calls = (verb: string): number => world.machine.calls.filter((call) => call.verb === verb).length;

describe('a watch that is behind', () => {
  test('does not make a withdrawn launch begin again and again', async () => {
    const goOn = world.holdBack('api.template');
    world.bound('r');
    await world.start();
    world.client.hold();
    world.runners.delete('r');
    goOn();
    await world.pass(60_000);
    expect(calls('prepare')).toBe(1);
    expect(calls('spawn')).toBe(0);
    expect(world.onDisk()).toEqual([]);
    expect(world.client.calls.filter((call) => call === 'get').length).toBeLessThan(20);
    world.client.release();
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.expectNoLeak();
  });

  test('does not make an older attempt of the one that runs here', async () => {
    const { metadata } = world.bound('r');
    const before = world.runners.resourceVersion;
    world.runners.bind('r', world.host, DIGEST);
    await world.start();
    await world.untilReady('r');
    await world.kill();
    world.client.heldAt = before;
    await world.start();
    await world.pass(60_000);
    expect(world.machine.running()).toEqual([world.paths(metadata.uid, 2).dir]);
    world.client.release();
    await world.pass(60_000);
    expect(world.machine.running()).toEqual([world.paths(metadata.uid, 2).dir]);
    expect(world.condition('r', 'Ready')?.status).toBe('True');
  });
});
