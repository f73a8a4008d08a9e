import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CrashPoint, pointName } from './boundary.ts';
import { isLong } from './length.ts';
import { type Passage, pointsOf } from './matrix.ts';
import { report } from './report.ts';
import { DELETED, JOB, live, type Story } from './stories.ts';
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

test.each([JOB, DELETED])('a node daemon that dies at any effect in the life of $name', async (story) => {
  const undisturbed = [await first(story, 'a'), await first(story, 'b')];
  const points = pointsOf(undisturbed.map(({ calls }) => calls));
  expect(points.length).toBeGreaterThan(20);
  const passages = await allPoints(
    story,
    points.filter((point) => isLong || !passed.has(pointName(point))),
  );
  await report(`node daemon, ${story.name}`, [...undisturbed, ...passages]);
  const missed = passages.filter(({ died }) => !died).map(({ point }) => point && pointName(point));
  expect(missed).toEqual([]);
});

async function first(story: Story, suffix: string): ReturnType<typeof live> {
  const [host] = world.hosts;
  if (host === undefined) throw new Error('there is no host');
  return await live({ world, host, victim: host.daemon }, story, nameOf(story, suffix), undefined);
}

/** Each point once; a machine takes the next one when it is done with the last. */
async function allPoints(story: Story, points: readonly CrashPoint[]): Promise<Passage[]> {
  const waiting = [...points.entries()];
  const passages: Passage[] = [];
  const failures: Error[] = [];
  const work = world.hosts.map(async (host) => {
    while (failures.length === 0) {
      const [index, point] = waiting.shift() ?? [];
      if (point === undefined) return;
      const subject = { world, host, victim: host.daemon };
      try {
        passages.push(await live(subject, story, nameOf(story, String(index)), point));
        passed.add(pointName(point));
      } catch (cause) {
        failures.push(new Error(`death ${pointName(point)}`, { cause }));
      }
    }
  });
  await Promise.all(work);
  if (failures.length > 0) throw failures[0];
  return passages;
}

const nameOf = ({ spec }: Story, suffix: string): string =>
  `${(spec.completion ?? 'Script').toLowerCase()}-${suffix}`;
