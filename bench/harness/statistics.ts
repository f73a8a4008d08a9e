/** Of measured values; the unit is that of the values. */
export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Throws on no values: a figure without measurements is a failed measurement. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('there is nothing to summarize');
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => round(percentile(sorted, share));
  return { n: sorted.length, min: at(0), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

export const median = (values: readonly number[]): number =>
  percentile(
    values.toSorted((a, b) => a - b),
    0.5,
  );

export const round = (value: number): number => Math.round(value * 100) / 100;

/** Nearest rank, but for the median of an even number, which is the mean of the two in the middle. */
function percentile(sorted: readonly number[], share: number): number {
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new Error('there is no percentile of nothing');
  const next = sorted[sorted.length / 2];
  return share === 0.5 && sorted.length % 2 === 0 && next !== undefined ? (value + next) / 2 : value;
}
