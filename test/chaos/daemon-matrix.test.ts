import { afterAll, beforeAll, expect, test } from 'vitest';
import { pointName } from './boundary.ts';
import { isLong } from './length.ts';
import { missedPoints, tryAllPoints } from './points.ts';
import { report } from './report.ts';
import { DELETED, JOB, RETRIED } from './stories.ts';
import { ChaosWorld } from './world.ts';

/** Machines that go through points at once, each with a daemon of its own. */
const MACHINES = 4;

let world: ChaosWorld;
beforeAll(async () => {
  world = await ChaosWorld.open();
  await Promise.all(Array.from({ length: MACHINES }, () => world.host()));
});
afterAll(() => world.close());

/** Names of points that were passed. The short version tries none twice. */
const passed = new Set<string>();

test.each([JOB, DELETED, RETRIED])(
  'a node daemon that dies at any effect in the life of $name',
  async (story) => {
    const lanes = world.hosts.map((host) => ({ host, victim: host.daemon }));
    const isWanted = (point: Parameters<typeof pointName>[0]) => isLong || !passed.has(pointName(point));
    const passages = await tryAllPoints({ world, story, lanes, isWanted });
    for (const { point } of passages) if (point !== undefined) passed.add(pointName(point));
    await report(`node daemon, ${story.name}`, passages);
    expect(missedPoints(passages)).toEqual([]);
  },
);

test('the points of a life are those of everything that it does', () => {
  expect(passed.size).toBeGreaterThan(40);
});
