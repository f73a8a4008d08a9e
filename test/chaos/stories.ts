import { writeFile } from 'node:fs/promises';
import { expect } from 'vitest';
import type { RunnerSpec } from '../../crds/runner.ts';
import type { CrashPoint } from './boundary.ts';
import { failureFile } from './failure.ts';
import type { ChaosHost } from './host.ts';
import { type Passage, revived } from './matrix.ts';
import type { Mortal } from './process.ts';
import { type ChaosWorld, conditionOf } from './world.ts';

/** A life that deaths may fall into. */
export interface Story {
  readonly name: string;
  /** Begins the names of its Runners. */
  readonly prefix: string;
  readonly spec: Partial<RunnerSpec>;
  /** What is done to the host before. */
  readonly given?: (host: ChaosHost) => Promise<unknown>;
  /** Phases that it may come to without a death; after one, Error too, where a script is lost for good. */
  readonly comesTo: (world: ChaosWorld, name: string) => Promise<unknown>;
}

const FINAL = ['Finished', 'Error'] as const;

export const JOB: Story = {
  name: 'a script that is the job',
  prefix: 'job',
  spec: {},
  comesTo: (world, name) => world.whenPhase(name, ...FINAL),
};

export const DELETED: Story = {
  name: 'a Runner that is deleted once it is Ready',
  prefix: 'deleted',
  spec: { completion: 'Never' },
  comesTo: (world, name) =>
    world.when(
      name,
      'Ready or over',
      (runner) =>
        conditionOf(runner, 'Ready')?.status === 'True' ||
        FINAL.some((phase) => runner?.status?.phase === phase),
    ),
};

export const RETRIED: Story = {
  name: 'a Runner whose first start fails',
  prefix: 'retried',
  spec: {},
  given: (host) => writeFile(failureFile(host.root), ''),
  comesTo: (world, name) => world.whenPhase(name, ...FINAL),
};

export const EXPIRING: Story = {
  name: 'a Runner that is deleted as soon as it is over',
  prefix: 'expiring',
  spec: { ttlSecondsAfterFinished: 0 },
  comesTo: (world, name) => world.whenGone(name),
};

export interface Subject {
  readonly world: ChaosWorld;
  readonly host: ChaosHost;
  /** Who dies. */
  readonly victim: Mortal;
}

/**
 * Lives it once, from the creation of a Runner until it is gone, with a death at the point, and in the lives that
 * follow at those `later`, and holds it to what must be true then: the script ran at most once, and exactly once where the Runner says that it succeeded, and nothing
 * is left.
 */
export async function live(
  { world, host, victim }: Subject,
  story: Story,
  name: string,
  point: CrashPoint | undefined,
  later: readonly CrashPoint[] = [],
): Promise<Passage & { readonly calls: readonly string[] }> {
  await victim.arm(point);
  const moments: number[] = [];
  const stamp = (): void => void moments.push(performance.now());
  let calls: readonly string[] = [];
  const { deaths, restartMs } = await revived(
    victim,
    async () => {
      await story.given?.(host);
      stamp();
      await world.create(name, { host, ...story.spec });
      await story.comesTo(world, name);
      stamp();
      await holds(world, name);
      await world.delete(name);
      await world.whenGone(name);
      await world.untilNothingIsLeft([host]);
      stamp();
      if (point === undefined) calls = await victim.calls();
      await victim.arm(undefined);
    },
    later,
  );
  const [created = 0, over = 0, gone = 0] = moments;
  return { point, calls, died: deaths > 0, restartMs, overMs: over - created, goneMs: gone - over };
}

async function holds(world: ChaosWorld, name: string): Promise<void> {
  const runner = await world.get(name);
  const runs = await world.runs(name);
  if (runner?.status?.phase !== 'Error') return expect(runs).toBe(1);
  // A daemon that died between permission and deed cannot know: it says so, and runs nothing twice.
  expect(conditionOf(runner, 'Stalled')?.reason, world.describe(runner)).toBe('ScriptUnknown');
  expect(runs).toBe(0);
}
