import { hasFailed, hasPassedGate, isOver } from '../../crds/attempts.ts';
import type { Host } from '../../crds/host.ts';
import { finalizerName } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { situationOf } from '../why/situation.ts';
import { presentStatus } from '../why/times.ts';

/** Which Runners a drain deletes: none, those that certainly run no job, or all. The others are waited for. */
export type Deletes = 'none' | 'idle' | 'all';

/** A Runner that keeps a host from being drained. */
export interface Occupant {
  readonly runner: Stored<Runner>;
  readonly fate: 'wait' | 'delete';
  /** What it does, or waits for: a sentence. */
  readonly says: string;
}

/** Pure: who is on the host, by namespace and name, and what becomes of each. */
export function occupantsOf(
  host: Stored<Host>,
  runners: readonly Stored<Runner>[],
  deletes: Deletes,
  now: number,
): Occupant[] {
  return runners
    .filter((runner) => isOn(host, runner))
    .map((runner) => occupant(host, runner, deletes, now))
    .sort((a, b) => (runnerName(a.runner) < runnerName(b.runner) ? -1 : 1));
}

export const runnerName = ({ metadata }: Stored<Runner>): string => `${metadata.namespace}/${metadata.name}`;

/**
 * Whether a VM of the Runner is, or may be, on the host: until its finalizer went, whatever else the object says. One
 * that waits to be bound elsewhere has left when its finalizer has.
 */
function isOn(host: Stored<Host>, runner: Stored<Runner>): boolean {
  const { name } = host.metadata;
  if ((runner.metadata.finalizers ?? []).some((finalizer) => isFinalizerOf(name, finalizer))) return true;
  return isBoundTo(host, runner) && !isOver(runner) && !hasFailed(runner);
}

function isFinalizerOf(hostName: string, finalizer: string): boolean {
  const attempt = Number(finalizer.slice(finalizer.lastIndexOf('.') + 1));
  return Number.isInteger(attempt) && finalizer === finalizerName(hostName, attempt);
}

const isBoundTo = ({ metadata }: Stored<Host>, { spec: { binding } }: Runner): boolean =>
  binding?.hostName === metadata.name && binding.hostUID === metadata.uid;

function occupant(host: Stored<Host>, runner: Stored<Runner>, deletes: Deletes, now: number): Occupant {
  // Deleting it would destroy the VM that it has elsewhere, and hasten nothing here.
  if (!isBoundTo(host, runner)) {
    return { runner, fate: 'wait', says: 'A VM of an earlier attempt has not been seen gone there.' };
  }
  const { says } = situationOf(runner, now);
  // What has failed here lets go of the host by itself, and may have work elsewhere by then.
  const isDeletable =
    runner.metadata.deletionTimestamp === undefined && !isOver(runner) && !hasFailed(runner);
  const isWanted = deletes === 'all' || (deletes === 'idle' && certainlyRunsNoJob(runner));
  return { runner, fate: isDeletable && isWanted ? 'delete' : 'wait', says };
}

/**
 * Whether nobody's work is lost with the VM, as far as this state of the object tells. What happened since it was
 * written is for the deletion's precondition: passing the gate is a write to the Runner, and contends with it. That
 * an idle Actions runner was given a job is written when the guest has reported it: see the help of drain.
 */
export function certainlyRunsNoJob(runner: Stored<Runner>): boolean {
  const { binding, completion, setupScript } = runner.spec;
  const { conditions, phase, guest } = presentStatus(runner);
  if (binding === undefined || phase === 'TearingDown') return false;
  const isGatePassed = hasPassedGate(runner);
  if (!isGatePassed && !isTrue(conditions, 'SSHReady')) return true;
  if (!isGatePassed && setupScript !== undefined) return guest?.state !== 'Running';
  // Of a VM that nobody hears of any more the last report says nothing.
  if (getCondition(conditions, 'Ready')?.reason === 'HostLost') return false;
  return completion === 'Job' && (guest?.state === 'NoRunner' || guest?.state === 'Idle');
}
