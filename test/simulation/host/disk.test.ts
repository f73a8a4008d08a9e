import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Bundles } from '../../../node-daemon/runner/ports.ts';
import { BundleStore, type MetadataPatch } from '../../../node-daemon/vm/bundle.ts';
import { Life } from '../life.ts';
import { Random } from '../random.ts';
import { Timeline } from '../timeline.ts';
import { SimBundles, SimDisk } from './disk.ts';

/** One call, or what a driver does to a bundle's files. */
type Step =
  | { readonly do: 'create'; readonly attempt: number; readonly hostUid: string }
  | { readonly do: 'update'; readonly attempt: number; readonly patch: MetadataPatch }
  | { readonly do: 'put' | 'purgeFiles' | 'removeTombstone'; readonly attempt: number };

const attempt = fc.integer({ min: 1, max: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('create' as const), attempt, hostUid: fc.constantFrom('host-1', 'host-2') }),
  fc.record({
    do: fc.constant('update' as const),
    attempt,
    patch: fc.constantFrom<MetadataPatch>(
      { startReturnedAt: 5 },
      { tearingDownAt: 6 },
      { cloneMs: -0.5 },
      { startReturnedAt: undefined },
    ),
  }),
  fc.record({ do: fc.constantFrom('put', 'purgeFiles', 'removeTombstone'), attempt }),
);

async function take(bundles: Bundles, put: (attempt: number) => Promise<void>, step: Step): Promise<unknown> {
  const paths = bundles.paths('uid', step.attempt);
  switch (step.do) {
    case 'create':
      return await bundles.create({
        identity: { uid: 'uid', attempt: step.attempt, hostUid: step.hostUid },
        runner: { namespace: 'ci', name: 'r' },
        template: { name: 'linux', digest: 'd' },
        createdAt: 1,
      });
    case 'update':
      return await bundles.update(paths, step.patch);
    case 'put':
      return await put(step.attempt);
    case 'purgeFiles':
      return await bundles.purgeFiles(paths, 9);
    case 'removeTombstone':
      return await bundles.removeTombstone(paths);
  }
}

/** What came of each step, and what is there after it. Words of errors are for people and may differ. */
async function lived(bundles: Bundles, put: (attempt: number) => Promise<void>, steps: readonly Step[]) {
  const told: unknown[] = [];
  for (const step of steps) {
    const result = await take(bundles, put, step).catch(() => 'threw');
    const views = await Promise.all([1, 2].map((each) => bundles.view(bundles.paths('uid', each))));
    const listed = (await bundles.list()).bundles.map((paths) => paths.attempt).sort();
    told.push({ step, result, views, listed });
  }
  return told;
}

test('the simulated bundles are what the real ones are, whatever is done to them', async () => {
  const root = await mkdtemp(join(tmpdir(), 's-'));
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await rm(join(root, 'runners'), { recursive: true, force: true });
        await mkdir(join(root, 'runners'));
        const real = new BundleStore(root);
        const putReal = (each: number): Promise<void> => writeFile(real.paths('uid', each).disk, 'x');
        const { bundles, run } = simulated(root);
        const putSimulated = (each: number): Promise<void> =>
          bundles.put(bundles.paths('uid', each), 'Disk.img', 'x');
        const asSimulated = await run(lived(bundles, putSimulated, steps));
        expect(asSimulated).toEqual(await lived(real, putReal, steps));
      }),
      { numRuns: 60 },
    );
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}, 300_000);

function simulated(root: string) {
  const timeline = new Timeline();
  const random = new Random(1);
  const machine = { wallErrorMs: 0, bootedAt: 0 };
  const life = new Life({ name: 'test', number: 1, timeline, random, machine, diesAt: () => false });
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let isOver = false;
    const over = work.finally(() => {
      isOver = true;
    });
    const turn = (): void => void timeline.after(1, turn);
    turn();
    await timeline.run(() => isOver);
    return await over;
  };
  return { bundles: new SimBundles(root, new SimDisk(), life), run };
}
