import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { uniqueName } from '../harness/control-plane.ts';
import { pointName } from './boundary.ts';
import { isLong } from './length.ts';
import { pointsOf } from './matrix.ts';
import { missedPoints, tryAllPoints } from './points.ts';
import { report } from './report.ts';
import { DELETED, JOB, live, RETRIED } from './stories.ts';
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

test.each(isLong ? [JOB, DELETED, RETRIED] : [JOB, DELETED])(
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

test.runIf(isLong)('node daemons that die one after the other, each at another effect', async () => {
  const [host] = world.hosts;
  if (host === undefined) throw new Error('there is no host');
  const subject = { world, host, victim: host.daemon };
  const points = pointsOf([(await live(subject, JOB, 'series-a', undefined)).calls]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...points), { minLength: 2, maxLength: 5 }), async (deaths) => {
      const [first, ...later] = deaths;
      await live(subject, JOB, `series-${uniqueName('s')}`, first, later);
    }),
    { numRuns: 40, endOnFailure: true },
  );
});

test('the points of a life are those of everything that it does', () => {
  expect(passed.size).toBeGreaterThan(40);
});
