import type { Tally } from './tally.ts';

/** The figures of a run as a Markdown table. */
export function report(tally: Tally, wallMs: number): string {
  const points = Object.values(tally.crashPoints);
  const died = points.filter(([, deaths]) => deaths > 0).length;
  const deaths = points.reduce((sum, [, one]) => sum + one, 0);
  const sorted = tally.recoveries.toSorted((a, b) => a - b);
  const quantile = (q: number): string => seconds(sorted[Math.floor((sorted.length - 1) * q)] ?? 0);
  const rows: readonly (readonly [string, string])[] = [
    ['seeds', String(tally.seeds)],
    ['failed', String(tally.failures.length)],
    ['real time', seconds(wallMs)],
    ['CPU time per seed', `${(tally.cpuMs / Math.max(1, tally.seeds)).toFixed(0)} ms`],
    ['simulated time', `${(tally.simulatedMs / 3_600_000).toFixed(0)} h`],
    ['simulated : real', `${Math.round(tally.simulatedMs / Math.max(1, wallMs))}`],
    ['events', String(tally.steps)],
    ['writes stored by the API server', String(tally.writes)],
    ['crash points (program × effect × before, after)', String(points.length)],
    ['of these, died at', String(died)],
    ['deaths at a crash point', String(deaths)],
    ['time to rest once all was mended, median', quantile(0.5)],
    ['… 99 %', quantile(0.99)],
    ['… longest', quantile(1)],
  ];
  const table = rows.map(([name, value]) => `| ${name} | ${value} |`);
  return ['| | |', '| --- | --- |', ...table].join('\n');
}

/** Crash points where nobody died yet. */
export const spared = ({ crashPoints }: Tally): string[] =>
  Object.entries(crashPoints)
    .filter(([, [, deaths]]) => deaths === 0)
    .map(([name, [passed]]) => `${name} (passed ${passed} times)`);

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
