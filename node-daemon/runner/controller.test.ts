import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

/** Writes of the daemon to this Runner. */
const writesTo = (uid: string) =>
  world.runners.writes.filter((write) => write.by === 'daemon' && write.uid === uid);

describe('an undisturbed life', () => {
  test('leads from the binding to Ready, and leaves nothing when the Runner is deleted', async () => {
    await world.start();
    const { metadata } = world.bound('r', { setupScript: { inline: 'echo hello' } });
    const ready = await world.untilReady('r');
    expect(ready.status).toMatchObject({ phase: 'Running', scriptAttempt: 1, setup: { exitCode: 0 } });
    expect(world.guests.of(world.paths(metadata.uid))?.ran).toEqual(['echo hello']);
    world.runners.delete('r');
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('ends by itself with completion: Script, and the object stays to tell how', async () => {
    await world.start();
    world.bound('r', { completion: 'Script', setupScript: { inline: 'true' } });
    const { status } = await world.untilPhase('r', 'Finished');
    expect(status).toMatchObject({ setup: { exitCode: 0 }, finishedAt: expect.any(String) });
    await world.untilClean();
    expect(world.get('r')?.metadata.finalizers).toEqual([]);
    await world.expectNoLeak();
  });

  test('costs few writes, and none while nothing changes', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    expect(writesTo(metadata.uid).length).toBeLessThanOrEqual(3);
    const before = writesTo(metadata.uid).length;
    await world.pass(10 * 60_000);
    expect(writesTo(metadata.uid)).toHaveLength(before);
    world.runners.delete('r');
    await world.untilClean();
    expect(writesTo(metadata.uid).length).toBeLessThanOrEqual(before + 1);
  });

  test('is told by one Event', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    await world.pass(60_000);
    expect(world.events.map(({ reason }) => reason)).toEqual(['SSHReady']);
  });
});
