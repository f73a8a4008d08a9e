import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BundlePaths } from '../vm/driver.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const stalled = () => world.condition('r', 'Stalled');
const phase = () => world.status('r')?.phase;

/** A Runner that waits for a job whose script has exited 0, having left an Actions runner behind, or none. */
async function job(agent: 'NoRunner' | 'Idle' | undefined): Promise<BundlePaths> {
  await world.start();
  const { metadata } = world.bound('r', { completion: 'Job' });
  const paths = world.paths(metadata.uid);
  await world.until('the guest', () => world.guests.of(paths) !== undefined);
  answer(paths, agent);
  await world.untilReady('r');
  if (agent !== undefined) world.report(metadata.uid, { state: agent });
  await world.settle();
  return paths;
}

function answer(paths: BundlePaths, agent: 'NoRunner' | 'Idle' | 'Running' | 'Finished' | undefined): void {
  const guest = world.guests.of(paths);
  if (guest !== undefined) guest.agent = agent;
}

describe('completion: Job', () => {
  test('is over when the Actions runner has finished', async () => {
    const paths = await job('Idle');
    world.report(paths.uid, { state: 'Running' });
    await world.pass(60 * 60_000);
    expect(phase()).toBe('Running');
    world.report(paths.uid, { state: 'Finished' });
    await world.untilPhase('r', 'Finished');
    expect(world.condition('r', 'Finished')?.reason).toBe('JobFinished');
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('notices the end although its report was lost', async () => {
    const paths = await job('Idle');
    answer(paths, 'Finished');
    await world.untilPhase('r', 'Finished');
  });

  test('is given up where the agent says for long enough that there is no Actions runner', async () => {
    await job('NoRunner');
    await world.pass(100_000);
    expect(phase()).toBe('Running');
    await world.pass(30_000);
    expect(stalled()?.reason).toBe('NoRunner');
  });

  test('is given up where nothing was ever heard of an Actions runner', async () => {
    await job(undefined);
    await world.pass(100_000);
    expect(phase()).toBe('Running');
    await world.pass(30_000);
    expect(stalled()?.reason).toBe('NoRunner');
  });

  test('is not given up by a new daemon that the guest has not answered yet', async () => {
    const paths = await job('Idle');
    world.report(paths.uid, { state: 'Running' });
    await world.until('the state to be told', () => world.status('r')?.guest?.state === 'Running');
    await world.pass(60 * 60_000);
    answer(paths, undefined);
    await world.kill();
    await world.start();
    await world.pass(10 * 60_000);
    expect(phase()).toBe('Running');
    answer(paths, 'Finished');
    await world.untilPhase('r', 'Finished');
  });

  test('leaves the agent of a new guest the time that it needs, after a new daemon, too', async () => {
    await job('NoRunner');
    await world.pass(60_000);
    await world.kill();
    await world.start();
    await world.pass(30_000);
    expect(phase()).toBe('Running');
    await world.pass(60_000);
    expect(stalled()?.reason).toBe('NoRunner');
  });
});
