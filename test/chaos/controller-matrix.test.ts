import { afterAll, beforeAll, expect, test } from 'vitest';
import { isLong } from './length.ts';
import { missedPoints, tryAllPoints } from './points.ts';
import { report } from './report.ts';
import { EXPIRING, JOB, RETRIED } from './stories.ts';
import { ChaosWorld } from './world.ts';

let world: ChaosWorld;
beforeAll(async () => {
  world = await ChaosWorld.open();
  await world.host();
});
afterAll(() => world.close());

/** The first of them has no point that the second has not. */
test.each(isLong ? [JOB, RETRIED, EXPIRING] : [RETRIED, EXPIRING])(
  'a controller that dies at any effect in the life of $name',
  async (story) => {
    const lanes = world.hosts.map((host) => ({ host, victim: world.controller }));
    const passages = await tryAllPoints({ world, story, lanes, isWanted: () => true });
    await report(`controller, ${story.name}`, passages);
    expect(passages.length).toBeGreaterThan(2);
    expect(missedPoints(passages)).toEqual([]);
  },
);
