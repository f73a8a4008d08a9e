import { countedFailures, hasFailed, isOver } from '../../crds/attempts.ts';
import type { HostKind } from '../../crds/host.ts';
import { type Condition, holdsOf } from '../../crds/meta.ts';
import type { Binding, Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition, removeCondition, setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { isPending } from './binder.ts';
import { clip, type Verdict } from './explain.ts';
import type { BoundHost } from './ledger.ts';

/**
 * What the controller has to say of a Runner. Everything else in its status is its node daemon's.
 *
 *    created ──► waiting: Bound=False, Ready=Unknown ──bind──► bound: nothing ◄──► host lost: Ready=Unknown
 *       │              ▲     │                                 ▲ │
 *       │              │     └──activeDeadlineSeconds──► Error, and never bound
 *       └──────────────┼───────bind (nothing was said)─────────┘ │
 *                      └───────a start has failed, and no host ──┘
 *
 * A bound Runner whose host is lost waits like one that is not bound, unless its gate is passed: then it stays. Where
 * its host was deleted, and it is not to be bound anew, it is Error once nothing holds it any more. One that is being
 * deleted is told of the lost host that keeps it.
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
  /** Of which kind that host is; undefined where it is not there. */
  readonly hostKind?: HostKind | undefined;
  /** Finalizers of hosts that were declared dead: line 12 of the binding protocol. */
  readonly deadHolds: readonly string[];
  /** Hosts that hold a VM of it, or what may be one, and whose Lease was judged stale. */
  readonly lostHolders: readonly Holder[];
  /** Since the controller last wrote this status; undefined where it never did. */
  readonly sinceToldMs: number | undefined;
  /** Since the Runner was created. No setting of the wall clock changes it. */
  readonly ageMs: number;
  /** Epoch milliseconds. */
  readonly now: number;
}

export interface Holder {
  readonly hostName: string;
  /** undefined where there is no such host object. */
  readonly hostKind: HostKind | undefined;
}

export interface Decision {
  /** Finalizers to be removed, before anything else is decided. */
  readonly release?: readonly string[] | undefined;
  /** The whole status to be; absent where it is as it should be, or where it is too early to write. */
  readonly status?: RunnerStatus | undefined;
  /** When a status may be written that was too early now, or the deadline passes. */
  readonly requeueAfterMs?: number | undefined;
}

/** Reason of the conditions of a Runner that ended by its `activeDeadlineSeconds`; its node daemon says the same. */
export const DEADLINE_EXCEEDED = 'DeadlineExceeded';

/** Reason of the conditions of a Runner that ended with its host; a live node daemon says the same. */
export const HOST_DELETED = 'HostDeleted';

/** Reason of the Event that tells of finalizers which were removed in a deleted host's place. */
export const HOST_DECLARED_DEAD = 'HostDeclaredDead';

/** Reason of Ready=Unknown, and of the Event, of a Runner that a host holds which does not renew its Lease. */
export const HOST_LOST = 'HostLost';

/** Least time between two writes of the controller to one Runner's status. */
export const RETELL_AFTER_MS = 30_000;

export const boundMessage = (hostName: string, attempt: number): string =>
  `bound to host ${hostName}, attempt ${attempt}`;

/** Of a Runner that is bound anew: why, where its host was lost. What has failed its node daemon has told. */
export function givenUp(runner: Runner): string | undefined {
  const { binding } = runner.spec;
  if (binding === undefined || hasFailed(runner)) return undefined;
  return `attempt ${binding.attempt} is given up: host ${binding.hostName} was lost before the setup script was permitted to run`;
}

type Said = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

export function boundHostOf(host: RunnerFacts['host']): BoundHost {
  if (host === 'gone') return 'gone';
  return host === 'stale' ? 'lost' : 'there';
}

/** Pure: what is to be written now, if anything. */
export function decide(facts: RunnerFacts): Decision {
  const { runner, host, deadHolds } = facts;
  if (deadHolds.length > 0) return { release: deadHolds };
  if (isPending(runner, boundHostOf(host))) return pending(facts);
  const { binding } = runner.spec;
  if (binding === undefined) return {};
  const isDying = runner.metadata.deletionTimestamp !== undefined;
  if (isOver(runner)) return isDying ? dying(facts) : {};
  if (host === 'gone' && !isDying && !isHeld(runner)) return { status: hostDeleted(facts, binding.hostName) };
  if (boundHostOf(host) !== 'there') return tell(facts, lost(facts, binding));
  return isDying ? dying(facts) : {};
}

/** Whether something may be left of the bound attempt. */
const isHeld = ({ metadata, spec: { binding } }: Runner): boolean =>
  holdsOf(metadata).some(
    ({ hostName, attempt }) => hostName === binding?.hostName && attempt === binding.attempt,
  );

/** As long as the host of the bound attempt destroys its VM, that host tells. */
function dying(facts: RunnerFacts): Decision {
  const { runner, host, lostHolders } = facts;
  const [holder] = lostHolders;
  if (holder === undefined || (isHeld(runner) && boundHostOf(host) === 'there')) return {};
  const { hostName } = holder;
  const message = `host ${hostName} has stopped renewing its Lease: a VM of the Runner may still run there; the Runner goes when that host is back and has destroyed it. ${declareDead('it', holder)}`;
  return tell(facts, [{ type: 'Ready', status: 'Unknown', reason: HOST_LOST, message: clip(message) }]);
}

const declareDead = (what: string, { hostName, hostKind = 'LinuxHost' }: Holder): string =>
  `If ${what} is dead for good, say so by deleting it: kubectl delete ${hostKind.toLowerCase()} ${hostName}`;

function pending(facts: RunnerFacts): Decision {
  const { runner, verdict, ageMs } = facts;
  const { binding } = runner.spec;
  const leftMs = deadlineInMs(runner, ageMs);
  const hostLost = binding !== undefined && !hasFailed(runner) ? binding : undefined;
  if (leftMs !== undefined && leftMs <= 0) {
    // Its VM may still be there: nobody ends a Runner before that was seen gone.
    const mayRun = hostLost !== undefined && (facts.host !== 'gone' || isHeld(runner));
    return mayRun ? tell(facts, lost(facts, hostLost)) : { status: exceeded(facts) };
  }
  // Without a verdict it is bound at once, or there is one soon.
  const said: Decision = verdict === undefined ? {} : tellWaiting(facts, verdict, hostLost);
  if (leftMs === undefined) return said;
  return { ...said, requeueAfterMs: Math.min(leftMs, said.requeueAfterMs ?? leftMs) };
}

/** Milliseconds until the deadline of a Runner of that age, 0 or less once it has passed; undefined: it has none. */
export function deadlineInMs({ spec }: Runner, ageMs: number): number | undefined {
  return spec.activeDeadlineSeconds === undefined ? undefined : spec.activeDeadlineSeconds * 1000 - ageMs;
}

/** The last status of a Runner that no host ever had to end: there is nothing to destroy. */
function exceeded(facts: RunnerFacts): RunnerStatus {
  const { runner, verdict } = facts;
  const bound = getCondition(runner.status?.conditions, 'Bound');
  const why = verdict?.message ?? (bound?.status === 'False' ? bound.message : undefined);
  const limit = runner.spec.activeDeadlineSeconds;
  const message = `it still waited for a host ${limit} s after its creation (activeDeadlineSeconds)${why === undefined ? '' : `: ${why}`}`;
  return ended(facts, DEADLINE_EXCEEDED, message, { Bound: 'False', Stalled: 'True', Finished: 'True' });
}

/** The last status of a Runner whose host was deleted, and of which nothing is left: nobody else is there to say so. */
function hostDeleted(facts: RunnerFacts, hostName: string): RunnerStatus {
  const message = `the host ${hostName} was deleted, and the Runner's VM with it`;
  return ended(facts, HOST_DELETED, message, { Stalled: 'True', Finished: 'True' });
}

function ended(
  { runner, now }: RunnerFacts,
  reason: string,
  message: string,
  types: Readonly<Record<string, Condition['status']>>,
): RunnerStatus {
  const before = runner.status ?? { phase: 'Pending', observedGeneration: -1 };
  const observedGeneration = runner.metadata.generation;
  const at = new Date(now).toISOString();
  let conditions = removeCondition(before.conditions ?? [], 'Ready');
  for (const [type, status] of Object.entries(types)) {
    const told = { type, status, reason, message: clip(message), observedGeneration };
    conditions = setCondition(conditions, told, at);
  }
  return {
    ...before,
    phase: 'Error',
    observedGeneration: observedGeneration ?? before.observedGeneration,
    finishedAt: at,
    conditions,
  };
}

/** While a start has only just failed, what its node daemon said of that stands. */
function tellWaiting(facts: RunnerFacts, verdict: Verdict, hostLost: Binding | undefined): Decision {
  if (hostLost !== undefined) return tell(facts, lost(facts, hostLost));
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

function lost(facts: RunnerFacts, { hostName, attempt }: Binding): Said[] {
  return [
    {
      type: 'Bound',
      status: 'True',
      reason: 'Bound',
      message: boundMessage(hostName, attempt),
    },
    { type: 'Ready', status: 'Unknown', reason: HOST_LOST, message: clip(whyLost(facts, hostName)) },
  ];
}

/** What has happened, what the Runner waits for, and what a person may do. */
function whyLost({ runner, host, hostKind, verdict, ageMs }: RunnerFacts, hostName: string): string {
  const what =
    host === 'gone'
      ? `host ${hostName} does not exist any more as it was when the Runner was bound to it`
      : `host ${hostName} has stopped renewing its Lease: the VM may still run there`;
  const leftMs = deadlineInMs(runner, ageMs);
  const isLate = leftMs !== undefined && leftMs <= 0;
  if (isPending(runner, 'lost') && !isLate) {
    const why = verdict === undefined ? '' : ` (${verdict.message})`;
    return `${what}; its setup script has not begun, so that it is bound anew as soon as another host fits${why}`;
  }
  const over = 'the Runner is over once its VM is known to be gone';
  const end = isLate ? `its time is up (activeDeadlineSeconds), and ${over}` : over;
  if (host === 'gone') return `${what}; ${end}`;
  const then = isLate ? end : 'the Runner waits for it to come back';
  return `${what}; ${then}. ${declareDead(isLate ? 'the host' : 'it', { hostName, hostKind })}`;
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
