import type { FailedAttempt, Runner } from '../../crds/runner.ts';

/** A host on which a start of the Runner has failed is tried again after this, doubled with each failure there. */
const RETRY_MS = { first: 1_000, most: 60_000 };

/** Hosts on which starts of a Runner have failed → when each may be tried again. */
export type Avoided = ReadonlyMap<string, number>;

export const NONE_AVOIDED: Avoided = new Map();

/** How long each host is left alone after the last start that failed there. */
function restsMs(attempts: readonly FailedAttempt[]): Map<string, { restMs: number; from: number }> {
  const rests = new Map<string, { restMs: number; from: number }>();
  for (const { hostName, finishedAt } of attempts) {
    const before = rests.get(hostName)?.restMs ?? RETRY_MS.first / 2;
    rests.set(hostName, { restMs: Math.min(before * 2, RETRY_MS.most), from: Date.parse(finishedAt) });
  }
  return rests;
}

/**
 * When a Runner's hosts may be tried again, on the monotonic clock. When a start failed was told by the host's wall
 * clock: however wrong that is, no host is left alone for longer than if the start had failed this very moment.
 */
export function avoidedBy(
  { status }: Pick<Runner, 'status'>,
  now: { readonly wall: number; readonly monotonic: number },
): Avoided {
  const attempts = status?.attempts ?? [];
  if (attempts.length === 0) return NONE_AVOIDED;
  const untils = [...restsMs(attempts)].map(([hostName, { restMs, from }]) => {
    const leftMs = Math.max(0, Math.min(from + restMs - now.wall, restMs));
    return [hostName, now.monotonic + leftMs] as const;
  });
  return new Map(untils);
}

/** When a host on which a start has failed is tried again at the earliest, in epoch milliseconds; undefined: none has. */
export function nextTryAt({ status }: Pick<Runner, 'status'>): number | undefined {
  const untils = [...restsMs(status?.attempts ?? []).values()].map(({ restMs, from }) => from + restMs);
  return untils.length === 0 ? undefined : Math.min(...untils);
}
