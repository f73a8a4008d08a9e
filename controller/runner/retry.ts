import { type FailedAttempt, MOST_FAILED_ATTEMPTS, type Runner } from '../../crds/runner.ts';

/** A host on which a start of the Runner has failed is tried again after this, doubled with each failure there. */
const RETRY_MS = { first: 1_000, most: 60_000 };

/** Hosts on which starts of a Runner have failed → when each may be tried again. */
export type Avoided = ReadonlyMap<string, number>;

export const NONE_AVOIDED: Avoided = new Map();

/** Stands for all hosts there are. No host has such a name. */
const EVERY_HOST = '*';

/** What is known of a Runner's failures since they were looked at last. */
export interface Retries {
  /** Number of the last attempt that had failed by then; 0: none had. */
  readonly latest: number;
  readonly avoided: Avoided;
}

interface Rest {
  readonly restMs: number;
  /** The failure that it follows. */
  readonly failure: FailedAttempt;
}

/**
 * How long each host is left alone after the last start that failed there. Where so many have failed that the first
 * ones are forgotten, all hosts are: else the Runner would be handed round among those for ever, without a pause.
 */
function restsOf(attempts: readonly FailedAttempt[]): Map<string, Rest> {
  const rests = new Map<string, Rest>();
  for (const failure of attempts) {
    const before = rests.get(failure.hostName)?.restMs ?? RETRY_MS.first / 2;
    rests.set(failure.hostName, { restMs: Math.min(before * 2, RETRY_MS.most), failure });
  }
  const last = attempts.at(-1);
  if (last !== undefined && attempts.length >= MOST_FAILED_ATTEMPTS) {
    rests.set(EVERY_HOST, { restMs: RETRY_MS.most, failure: last });
  }
  return rests;
}

/**
 * When a Runner's hosts may be tried again, on the monotonic clock. When a start failed was told by the host's wall
 * clock, which may be wrong: so a failure that happened since the Runner was first looked at counts from now. Only
 * of one that was there then is `finishedAt` believed, once, and never for longer than if the start had failed now.
 */
export function retriesOf(
  { status }: Pick<Runner, 'status'>,
  now: { readonly wall: number; readonly monotonic: number },
  before?: Retries,
): Retries {
  const attempts = status?.attempts ?? [];
  const latest = attempts.at(-1)?.attempt ?? 0;
  if (before?.latest === latest) return before;
  if (latest === 0) return { latest, avoided: NONE_AVOIDED };
  const untils = [...restsOf(attempts)].map(([hostName, { restMs, failure }]) => {
    const isNew = before !== undefined && failure.attempt > before.latest;
    const leftMs = isNew ? restMs : Math.min(Date.parse(failure.finishedAt) + restMs - now.wall, restMs);
    const known = isNew ? undefined : before?.avoided.get(hostName);
    return [hostName, known ?? now.monotonic + Math.max(0, leftMs)] as const;
  });
  return { latest, avoided: new Map(untils) };
}

/** Whether the host is not tried now, or only where no other serves. */
export function failuresOn(avoided: Avoided, hostName: string, now: number): 'none' | 'known' | 'rests' {
  const until = avoided.get(hostName);
  if ((until ?? 0) > now || (avoided.get(EVERY_HOST) ?? 0) > now) return 'rests';
  return until === undefined ? 'none' : 'known';
}

/** When a host on which a start has failed is tried again at the earliest, in epoch milliseconds; undefined: none has. */
export function nextTryAt({ status }: Pick<Runner, 'status'>): number | undefined {
  const rests = restsOf(status?.attempts ?? []);
  const until = ({ restMs, failure }: Rest): number => Date.parse(failure.finishedAt) + restMs;
  const every = rests.get(EVERY_HOST);
  if (every !== undefined) return until(every);
  return rests.size === 0 ? undefined : Math.min(...[...rests.values()].map(until));
}
