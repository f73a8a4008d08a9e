import { hasFailed, isOver } from '../../crds/attempts.ts';
import type { Condition } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition } from '../../kube/conditions.ts';
import type { KubeEvent } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';

/** Epoch milliseconds. Not `exact`: known to the second only, or from what came shortly after. */
export interface Moment {
  readonly at: number;
  readonly exact: boolean;
}

/** When a Runner came how far, in its present attempt. What has not happened, or left no trace, is absent. */
export interface Times {
  readonly created: Moment;
  readonly bound?: Moment | undefined;
  /** The driver's start returned. */
  readonly started?: Moment | undefined;
  readonly sshReady?: Moment | undefined;
  readonly ready?: Moment | undefined;
  /** An outcome was known, or the Runner was deleted: from here on its VM is being destroyed. */
  readonly over?: Moment | undefined;
  /** The VM was observed gone. */
  readonly gone?: Moment | undefined;
}

/** The status where it tells of the attempt that is bound now, and nothing of an earlier one. */
export function presentStatus({ spec, status }: Runner): Partial<RunnerStatus> {
  const isPresent = status?.attempt === undefined || status.attempt === spec.binding?.attempt;
  return isPresent ? (status ?? {}) : {};
}

/** Events tell the moments of the last hour exactly; where they have expired, conditions tell about when. */
export function timesOf(runner: Stored<Runner>, events: readonly KubeEvent[]): Times {
  const { startedAt, finishedAt, timings } = presentStatus(runner);
  const started = moment(startedAt);
  const sshReady = after(started, timings?.bootToSshMs);
  return {
    created: { at: Date.parse(runner.metadata.creationTimestamp), exact: false },
    bound: boundAt(runner, events, started),
    started,
    sshReady,
    ready: readyAt(runner, sshReady),
    over: overAt(runner, events),
    gone: moment(finishedAt),
  };
}

function boundAt(
  runner: Runner,
  events: readonly KubeEvent[],
  started: Moment | undefined,
): Moment | undefined {
  if (runner.spec.binding === undefined || (hasFailed(runner) && !isOver(runner))) return undefined;
  const told = lastOf(events, (event) => event.reason === 'Bound');
  if (told !== undefined) return told;
  const { cloneMs } = presentStatus(runner).timings ?? {};
  if (started !== undefined && cloneMs !== undefined) return { at: started.at - cloneMs, exact: false };
  const condition = getCondition(runner.status?.conditions, 'Bound');
  return condition?.status === 'True' ? about(condition.lastTransitionTime) : undefined;
}

function readyAt(runner: Runner, sshReady: Moment | undefined): Moment | undefined {
  const { conditions, timings } = presentStatus(runner);
  const ready = getCondition(conditions, 'Ready');
  if (ready?.status === 'True') return moment(ready.lastTransitionTime);
  if (timings?.setupMs !== undefined) return after(sshReady, timings.setupMs);
  return runner.spec.setupScript === undefined ? sshReady : undefined;
}

function overAt(runner: Runner, events: readonly KubeEvent[]): Moment | undefined {
  const { conditions, phase, finishedAt } = presentStatus(runner);
  const why = reasonOfEnd(runner);
  const told = lastOf(events, ({ reason }) => reason === 'Finished' || reason === why?.reason);
  if (isOver(runner)) return told ?? about(finishedAt ?? why?.lastTransitionTime);
  if (phase === 'TearingDown') {
    return told ?? about(getCondition(conditions, 'Ready')?.lastTransitionTime);
  }
  return about(runner.metadata.deletionTimestamp);
}

/** The condition that tells why the Runner is over, or is being torn down. */
export function reasonOfEnd(runner: Runner): Condition | undefined {
  const { conditions, phase } = presentStatus(runner);
  if (isOver(runner)) return getCondition(conditions, phase === 'Error' ? 'Stalled' : 'Finished');
  return phase === 'TearingDown' ? getCondition(conditions, 'Ready') : undefined;
}

function lastOf(events: readonly KubeEvent[], is: (event: KubeEvent) => boolean): Moment | undefined {
  return moment(events.findLast(is)?.eventTime);
}

const moment = (time: string | undefined): Moment | undefined =>
  time === undefined ? undefined : { at: Date.parse(time), exact: true };

const about = (time: string | undefined): Moment | undefined =>
  time === undefined ? undefined : { at: Date.parse(time), exact: false };

const after = (from: Moment | undefined, ms: number | undefined): Moment | undefined =>
  from === undefined || ms === undefined ? undefined : { at: from.at + ms, exact: from.exact };
