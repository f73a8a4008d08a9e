import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const reasons = (): string[] => world.events.map(({ reason }) => reason);
const script = { setupScript: { inline: 'x' } };

describe('a life is told by Events:', () => {
  test('of a Runner that is deleted', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    world.runners.delete('r');
    await world.untilClean();
    await world.pass(60_000);
    expect(reasons()).toEqual(['SSHReady', 'Purged']);
    expect(world.events.at(-1)?.note).toBe('nothing is left of attempt 1 on host-a');
  });

  test('of one whose script is the job', async () => {
    await world.start();
    world.bound('r', { completion: 'Script', ...script });
    await world.untilClean();
    await world.pass(60_000);
    expect(reasons()).toEqual(['SSHReady', 'Finished', 'Purged']);
    expect(world.events[1]?.note).toBe('the setup script exited with code 0');
  });

  test('of one whose script fails, as soon as that is known', async () => {
    world.guests.exitsAtOnce = 42;
    await world.start();
    world.bound('r', script);
    const proceed = world.holdBack('runtime.purge');
    await world.until('the failure to be told', () => reasons().includes('ScriptFailed'));
    expect(world.status('r')?.phase).not.toBe('Error');
    proceed();
    await world.untilClean();
    await world.pass(60_000);
    expect(reasons()).toEqual(['SSHReady', 'ScriptFailed', 'Purged']);
    expect(world.events[1]?.note).toBe('the setup script exited with code 42');
  });

  test('of one that never answers SSH', async () => {
    world.guests.sshUp = false;
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    await world.untilClean();
    expect(reasons()).toEqual(['BootTimeout', 'Purged']);
  });
});

test('a daemon that follows another tells of what comes, and not again of what was told', async () => {
  await world.start();
  world.bound('r', { completion: 'Never', ...script });
  await world.untilReady('r');
  await world.kill();
  await world.start();
  await world.pass(60_000);
  expect(reasons()).toEqual(['SSHReady']);
  world.runners.delete('r');
  await world.untilClean();
  expect(reasons()).toEqual(['SSHReady', 'Purged']);
});
