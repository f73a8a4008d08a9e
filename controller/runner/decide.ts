import { countedFailures, hasFailed } from '../../crds/attempts.ts';
import type { Condition } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition, removeCondition, setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { isPending } from './binder.ts';
import { clip, type Verdict } from './explain.ts';
import { isOver } from './ledger.ts';

/**
 * What the controller has to say of a Runner. Everything else in its status is its node daemon's.
 *
 *    created ──► waiting: Bound=False, Ready=Unknown ──bind──► bound: nothing ◄──► host lost: Ready=Unknown
 *       │              ▲     │                                 ▲ │
 *       │              │     └──activeDeadlineSeconds──► Error, and never bound
 *       └──────────────┼───────bind (nothing was said)─────────┘ │
 *                      └───────a start has failed, and no host ──┘
 *
 * That a Runner is bound, that its host is back, and how it ends there, is for the node daemon to say.
 */
export interface RunnerFacts {
  readonly runner: Stored<Runner>;
  /** Why it is not bound; undefined where it is, or where it was not judged. */
  readonly verdict: Verdict | undefined;
  /**
   * The host that a bound Runner names: `stale` when its Lease was judged so, `gone` when no host object of
   * the binding's UID exists any more. `unknown` where it is not bound.
   */
  readonly host: 'present' | 'stale' | 'gone' | 'unknown';
  /** Since the controller last wrote this status; undefined where it never did. */
  readonly sinceToldMs: number | undefined;
  /** Since the Runner was created. No setting of the wall clock changes it. */
  readonly ageMs: number;
  /** Epoch milliseconds. */
  readonly now: number;
}

export interface Decision {
  /** The whole status to be; absent where it is as it should be, or where it is too early to write. */
  readonly status?: RunnerStatus | undefined;
  /** When a status may be written that was too early now, or the deadline passes. */
  readonly requeueAfterMs?: number | undefined;
}

/** Reason of the conditions of a Runner that ended by its `activeDeadlineSeconds`; its node daemon says the same. */
export const DEADLINE_EXCEEDED = 'DeadlineExceeded';

/** Least time between two writes of the controller to one Runner's status. */
export const RETELL_AFTER_MS = 30_000;

export const boundMessage = (hostName: string, attempt: number): string =>
  `bound to host ${hostName}, attempt ${attempt}`;

type Said = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

/** Pure: what is to be written now, if anything. */
export function decide(facts: RunnerFacts): Decision {
  const { runner } = facts;
  if (isPending(runner)) return pending(facts);
  const { binding } = runner.spec;
  if (binding === undefined || isOver(runner)) return {};
  if (facts.host === 'stale' || facts.host === 'gone') return tell(facts, lost(binding, facts.host));
  return {};
}

function pending(facts: RunnerFacts): Decision {
  const { runner, verdict, ageMs } = facts;
  const leftMs = deadlineInMs(runner, ageMs);
  if (leftMs !== undefined && leftMs <= 0) return { status: exceeded(facts) };
  const said: Decision = verdict === undefined ? {} : tellWaiting(facts, verdict);
  if (leftMs === undefined) return said;
  return { ...said, requeueAfterMs: Math.min(leftMs, said.requeueAfterMs ?? leftMs) };
}

/** Milliseconds until the deadline of a Runner of that age, 0 or less once it has passed; undefined: it has none. */
export function deadlineInMs({ spec }: Runner, ageMs: number): number | undefined {
  return spec.activeDeadlineSeconds === undefined ? undefined : spec.activeDeadlineSeconds * 1000 - ageMs;
}

/** The last status of a Runner that no host ever had to end: there is nothing to destroy. */
function exceeded({ runner, verdict, now }: RunnerFacts): RunnerStatus {
  const before = runner.status ?? { phase: 'Pending', observedGeneration: -1 };
  const generation = runner.metadata.generation;
  const bound = getCondition(before.conditions, 'Bound');
  const why = verdict?.message ?? (bound?.status === 'False' ? bound.message : undefined);
  const limit = runner.spec.activeDeadlineSeconds;
  const told = {
    reason: DEADLINE_EXCEEDED,
    message: clip(
      `it still waited for a host ${limit} s after its creation (activeDeadlineSeconds)${why === undefined ? '' : `: ${why}`}`,
    ),
    observedGeneration: generation,
  };
  const at = new Date(now).toISOString();
  let conditions = removeCondition(before.conditions ?? [], 'Ready');
  conditions = setCondition(conditions, { type: 'Bound', status: 'False', ...told }, at);
  for (const type of ['Stalled', 'Finished'] as const) {
    conditions = setCondition(conditions, { type, status: 'True', ...told }, at);
  }
  return {
    ...before,
    phase: 'Error',
    observedGeneration: generation ?? before.observedGeneration,
    finishedAt: at,
    conditions,
  };
}

/** While a start has only just failed, what its node daemon said of that stands. */
function tellWaiting(facts: RunnerFacts, verdict: Verdict): Decision {
  if (verdict.reason === 'BackingOff' && hasFailed(facts.runner)) return {};
  return tell(facts, waiting(facts.runner, verdict));
}

function waiting({ spec, status }: Runner, { reason, message }: Verdict): Said[] {
  const last = status?.attempts?.at(-1);
  const failures = `${countedFailures(status?.attempts)} of ${spec.startAttempts} starts have failed`;
  const before = last && `${failures}, the last on host ${last.hostName}: ${last.reason}: ${last.message}`;
  return [
    { type: 'Bound', status: 'False', reason, message: before ? clip(`${message}; ${before}`) : message },
    {
      type: 'Ready',
      status: 'Unknown',
      reason: 'NotBound',
      message: 'the Runner waits to be bound to a host',
    },
  ];
}

function lost(binding: { hostName: string; attempt: number }, host: 'stale' | 'gone'): Said[] {
  const { hostName, attempt } = binding;
  const why =
    host === 'gone'
      ? `host ${hostName} does not exist any more as it was when the Runner was bound to it`
      : `host ${hostName} has stopped renewing its Lease: the VM may still run there`;
  return [
    {
      type: 'Bound',
      status: 'True',
      reason: 'Bound',
      message: boundMessage(hostName, attempt),
    },
    { type: 'Ready', status: 'Unknown', reason: 'HostLost', message: why },
  ];
}

function tell({ runner, sinceToldMs, now }: RunnerFacts, said: readonly Said[]): Decision {
  const before = runner.status ?? { phase: 'Pending', observedGeneration: -1 };
  const generation = runner.metadata.generation;
  let conditions = before.conditions ?? [];
  for (const condition of said) {
    const next = { ...condition, observedGeneration: generation };
    conditions = setCondition(conditions, next, new Date(now).toISOString());
  }
  const observedGeneration = generation ?? before.observedGeneration;
  if (conditions === before.conditions && observedGeneration === before.observedGeneration) return {};
  if (sinceToldMs !== undefined && sinceToldMs < RETELL_AFTER_MS) {
    return { requeueAfterMs: RETELL_AFTER_MS - sinceToldMs };
  }
  return { status: { ...before, observedGeneration, conditions } };
}
