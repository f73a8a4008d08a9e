import type { Condition } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { isPending } from './binder.ts';
import type { Verdict } from './explain.ts';
import { isOver } from './ledger.ts';

/**
 * What the controller has to say of a Runner. Everything else in its status is its node daemon's.
 *
 *    created ──► waiting: Bound=False, Ready=Unknown ──bind──► bound: nothing ◄──► host lost: Ready=Unknown
 *       └─────────────────bind (nothing was said)──────────────►┘
 *
 * That a Runner is bound, and that its host is back, is for the node daemon to say.
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
  /** Epoch milliseconds. */
  readonly now: number;
}

export interface Decision {
  /** The whole status to be; absent where it is as it should be, or where it is too early to write. */
  readonly status?: RunnerStatus | undefined;
  /** When the status may be written that was too early now. */
  readonly requeueAfterMs?: number | undefined;
}

/** Least time between two writes of the controller to one Runner's status. */
export const RETELL_AFTER_MS = 30_000;

export const boundMessage = (hostName: string, attempt: number): string =>
  `bound to host ${hostName}, attempt ${attempt}`;

type Said = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

/** Pure: what is to be written now, if anything. */
export function decide(facts: RunnerFacts): Decision {
  const { runner, verdict } = facts;
  if (isPending(runner)) return verdict === undefined ? {} : tell(facts, waiting(verdict));
  const { binding } = runner.spec;
  if (binding === undefined || isOver(runner)) return {};
  if (facts.host === 'stale' || facts.host === 'gone') return tell(facts, lost(binding, facts.host));
  return {};
}

function waiting({ reason, message }: Verdict): Said[] {
  return [
    { type: 'Bound', status: 'False', reason, message },
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
