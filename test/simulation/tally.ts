import type { Result } from './simulate.ts';

/** What many runs came to. Plain data: it travels between processes. */
export interface Tally {
  readonly seeds: number;
  readonly failures: readonly { readonly seed: number; readonly violation: string }[];
  readonly simulatedMs: number;
  readonly cpuMs: number;
  readonly steps: number;
  readonly writes: number;
  /** By name: how often it was passed, and how often a process died there. */
  readonly crashPoints: Readonly<Record<string, readonly [passed: number, died: number]>>;
  /** Times to come to rest, in milliseconds. */
  readonly recoveries: readonly number[];
}

/** What was broken, without the particulars: the invariant's number. */
export const kindOf = (violation: string | undefined): string => violation?.split(':')[0] ?? '';

export const NO_TALLY: Tally = {
  seeds: 0,
  failures: [],
  simulatedMs: 0,
  cpuMs: 0,
  steps: 0,
  writes: 0,
  crashPoints: {},
  recoveries: [],
};

export function tallyOf(result: Result, cpuMs: number): Tally {
  const crashPoints: Record<string, [number, number]> = {};
  for (const [name, times] of result.passed) crashPoints[name] = [times, 0];
  for (const name of result.diedAt) {
    const [passed = 0, died = 0] = crashPoints[name] ?? [];
    crashPoints[name] = [passed, died + 1];
  }
  const { seed, violation, simulatedMs, steps, writes, recoveryMs } = result;
  return {
    ...{ seeds: 1, simulatedMs, cpuMs, steps, writes, crashPoints },
    failures: violation === undefined ? [] : [{ seed, violation }],
    recoveries: recoveryMs === undefined ? [] : [Math.max(0, recoveryMs)],
  };
}

export function together(a: Tally, b: Tally): Tally {
  const crashPoints = { ...a.crashPoints };
  for (const [name, [passed, died]] of Object.entries(b.crashPoints)) {
    const [before = 0, deaths = 0] = crashPoints[name] ?? [];
    crashPoints[name] = [before + passed, deaths + died];
  }
  return {
    seeds: a.seeds + b.seeds,
    failures: [...a.failures, ...b.failures],
    simulatedMs: a.simulatedMs + b.simulatedMs,
    cpuMs: a.cpuMs + b.cpuMs,
    steps: a.steps + b.steps,
    writes: a.writes + b.writes,
    crashPoints,
    recoveries: [...a.recoveries, ...b.recoveries],
  };
}
