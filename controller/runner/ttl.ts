import type { Runner } from '../../crds/runner.ts';

/** What is to be done about a Runner's `ttlSecondsAfterFinished` now; neither: nothing, before it changes. */
export interface TtlDecision {
  readonly delete?: true;
  /** After how many milliseconds time alone changes that. */
  readonly requeueAfterMs?: number | undefined;
}

/** Pure. `overForMs`: since the Runner was over; undefined while it is not. */
export function decideTtl({ metadata, spec }: Runner, overForMs: number | undefined): TtlDecision {
  const { ttlSecondsAfterFinished: ttl } = spec;
  if (overForMs === undefined || ttl === undefined || metadata.deletionTimestamp !== undefined) return {};
  const leftMs = ttl * 1000 - overForMs;
  return leftMs > 0 ? { requeueAfterMs: leftMs } : { delete: true };
}
