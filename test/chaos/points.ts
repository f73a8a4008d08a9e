import { type CrashPoint, pointName } from './boundary.ts';
import type { ChaosHost } from './host.ts';
import { type Passage, pointsOf } from './matrix.ts';
import type { Mortal } from './process.ts';
import { live, type Story } from './stories.ts';
import type { ChaosWorld } from './world.ts';

export interface MatrixOptions {
  readonly world: ChaosWorld;
  readonly story: Story;
  /** Each goes through points by itself, one after the other: pairs of a host and of who dies. */
  readonly lanes: readonly { readonly host: ChaosHost; readonly victim: Mortal }[];
  readonly isWanted: (point: CrashPoint) => boolean;
}

/** Lives a story twice without a death, then once with a death at each point that the two had in common. */
export async function tryAllPoints(options: MatrixOptions): Promise<Passage[]> {
  const { world, story, lanes, isWanted } = options;
  const [lane] = lanes;
  if (lane === undefined) throw new Error('there is nobody to die');
  const first = await live({ world, ...lane }, story, `${story.prefix}-a`, undefined);
  const second = await live({ world, ...lane }, story, `${story.prefix}-b`, undefined);
  const waiting = [...pointsOf([first.calls, second.calls]).filter(isWanted).entries()];
  const passages: Passage[] = [first, second];
  const failures: Error[] = [];
  const work = lanes.map(async (one) => {
    while (failures.length === 0) {
      const [index, point] = waiting.shift() ?? [];
      if (point === undefined) return;
      try {
        passages.push(await live({ world, ...one }, story, `${story.prefix}-${index}`, point));
      } catch (cause) {
        failures.push(new Error(`death ${pointName(point)}`, { cause }));
      }
    }
  });
  await Promise.all(work);
  if (failures.length > 0) throw failures[0];
  return passages;
}

/** Points at which nobody died although they were meant to. */
export const missedPoints = (passages: readonly Passage[]): string[] =>
  passages.flatMap(({ point, died }) => (point === undefined || died ? [] : [pointName(point)]));
