import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../harness/until.ts';
import { type CrashPoint, pointName } from './boundary.ts';
import type { ChaosHost } from './host.ts';
import { isLong } from './length.ts';
import { pointsOf } from './matrix.ts';
import { ChaosWorld } from './world.ts';

/** The short version takes every so many points. */
const STEP = isLong ? 1 : 5;

let world: ChaosWorld;
let host: ChaosHost;
beforeAll(async () => {
  world = await ChaosWorld.open();
  host = await world.host();
});
afterAll(() => world.close());

/**
 * A daemon starts over a VM that runs and one whose Runner was deleted while there was no daemon, and dies at the
 * point, if one is given; the next one must find everything. Returns what the first one did until the end.
 */
async function startOver(name: string, point: CrashPoint | undefined): Promise<readonly string[]> {
  await world.create(name, { completion: 'Never' });
  await world.whenReady(name);
  await host.daemon.kill9();
  await world.delete(name);
  await host.daemon.start(point);
  if (point !== undefined) {
    await host.daemon.exited;
    await host.daemon.start();
  }
  await world.whenGone(name);
  return point === undefined ? await host.daemon.calls() : [];
}

test('a daemon that dies at any effect of its start is followed by one that adopts and cleans up', async () => {
  await world.create('runs', { setupScript: { inline: world.waiting('runs') } });
  const { metadata } = await world.whenPhase('runs', 'Running');
  const bundle = `${metadata.uid}.1.bundle`;
  const pids = await host.vmPids(bundle);
  const points = pointsOf([await startOver('left-a', undefined), await startOver('left-b', undefined)]);
  expect(points.length).toBeGreaterThan(10);
  const tried = points.filter((_, index) => index % STEP === 0);
  for (const [index, point] of tried.entries()) {
    await startOver(`left-${index}`, point);
    expect(await host.vmPids(bundle), pointName(point)).toEqual(pids);
    await until(
      `one bundle after death ${pointName(point)}`,
      async () => (await host.bundles()).join() === bundle,
    );
  }
  process.stdout.write(`node daemon, its start: ${tried.length} of ${points.length} crash points passed
`);
  await world.letGo('runs');
  await world.whenPhase('runs', 'Finished');
  expect(await world.runs('runs')).toBe(1);
  await world.burn('runs');
  await world.untilNothingIsLeft();
});
