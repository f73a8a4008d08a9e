import { type CrashPoint, pointName } from './boundary.ts';
import type { Mortal } from './process.ts';

/** One run through a life, with a death in it or without. */
export interface Passage {
  /** undefined: undisturbed. */
  readonly point: CrashPoint | undefined;
  /** From the creation of the Runner until it was over. */
  readonly overMs: number;
  /** From then until nothing of it was left. */
  readonly goneMs: number;
  /** Whether the process died where it was to. */
  readonly died: boolean;
  /** Of that, until a new process was ready after the death: what any program takes to start. */
  readonly restartMs: number;
}

/** Every point at which a process can die between effects that two undisturbed lives have in common. */
export function pointsOf(lives: readonly (readonly string[])[]): CrashPoint[] {
  const [first = [], ...others] = lives.map(numbered);
  const common = first.filter((call) => others.every((calls) => calls.includes(call)));
  return common.flatMap((numberedCall) => {
    const [call = '', nth = '0'] = numberedCall.split('\t');
    return (['before', 'after'] as const).map((when) => ({ call, nth: Number(nth), when }));
  });
}

function numbered(calls: readonly string[]): string[] {
  const counts = new Map<string, number>();
  return calls.map((call) => {
    const nth = counts.get(call) ?? 0;
    counts.set(call, nth + 1);
    return `${call}\t${nth}`;
  });
}

export interface Revival {
  readonly deaths: number;
  /** From a death until the next process was ready, all deaths together. */
  readonly restartMs: number;
}

/**
 * While `work` goes on, the process is started again each time that it dies. A deadly point is of one life only: those
 * of the lives that follow are `later`, one each.
 */
export async function revived(
  process: Mortal,
  work: () => Promise<unknown>,
  later: readonly CrashPoint[] = [],
): Promise<Revival> {
  const points = [...later];
  let [deaths, restartMs] = [0, 0];
  const over = Promise.withResolvers<'over'>();
  const reviving = (async () => {
    while ((await Promise.race([over.promise, process.exited])) !== 'over' || !process.isRunning) {
      const diedAt = performance.now();
      deaths += 1;
      await process.start(points.shift());
      restartMs += performance.now() - diedAt;
    }
  })();
  const failed = reviving.then(() => new Promise<never>(() => {}));
  try {
    await Promise.race([work(), failed]);
  } finally {
    over.resolve('over');
  }
  await reviving;
  return { deaths, restartMs };
}

/** What came of a matrix, for people and for `--report`. */
export interface MatrixReport {
  readonly title: string;
  readonly points: number;
  readonly passed: number;
  readonly undisturbedMs: number;
  /** Runs with a death in them. */
  readonly disturbed: readonly {
    readonly point: string;
    readonly overMs: number;
    readonly goneMs: number;
    readonly restartMs: number;
  }[];
}

export function reportOf(title: string, passages: readonly Passage[]): MatrixReport {
  const undisturbed = passages.filter(({ point }) => point === undefined);
  const disturbed = passages.filter(({ point }) => point !== undefined);
  const total = ({ overMs, goneMs }: Passage): number => overMs + goneMs;
  return {
    title,
    points: disturbed.length,
    passed: disturbed.filter(({ died }) => died).length,
    undisturbedMs: Math.round(median(undisturbed.map(total))),
    disturbed: disturbed.map(({ point, overMs, goneMs, restartMs }) => ({
      point: point === undefined ? '' : pointName(point),
      overMs: Math.round(overMs),
      goneMs: Math.round(goneMs),
      restartMs: Math.round(restartMs),
    })),
  };
}

/** Times are without what the new process took to start. */
export function tableOf({ title, points, passed, undisturbedMs, disturbed }: MatrixReport): string {
  const factor = (ms: number): string => `${(ms / undisturbedMs).toFixed(1)}x`;
  const recoveries = disturbed
    .map(({ point, overMs, goneMs, restartMs }) => ({ point, ms: overMs + goneMs - restartMs }))
    .toSorted((a, b) => b.ms - a.ms);
  const typical = median(recoveries.map(({ ms }) => ms));
  const restartMs = median(disturbed.map((one) => one.restartMs));
  return [
    `${title}: ${passed} of ${points} crash points passed`,
    `  undisturbed ${undisturbedMs} ms; with a death ${Math.round(typical)} ms (${factor(typical)}), and ${Math.round(restartMs)} ms until the next process was ready`,
    ...recoveries.slice(0, 5).map(({ point, ms }) => `  ${factor(ms).padStart(6)}  ${point}`),
  ].join('\n');
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
