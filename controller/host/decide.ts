import { HOST_FINALIZER, type Host, type HostStatus } from '../../crds/host.ts';
import { setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';

export interface HostFactsForStatus {
  readonly host: Stored<Host>;
  /** The Lease of the host was judged stale. */
  readonly lost: boolean;
  /** Finalizers of Runners stand for VMs on it. */
  readonly holdsVms: boolean;
  /** Since the controller last wrote this status; undefined where it never did. */
  readonly sinceToldMs: number | undefined;
  /** Epoch milliseconds. */
  readonly now: number;
}

export interface HostDecision {
  /** Finalizers to be left on it; absent: all. */
  readonly finalizers?: readonly string[] | undefined;
  readonly status?: HostStatus | undefined;
  readonly requeueAfterMs?: number | undefined;
}

/** Least time between two writes to one host: a node daemon that writes without a Lease is not argued with. */
export const RETELL_HOST_AFTER_MS = 30_000;

/**
 * Pure. The controller says one thing of a host: that nobody knows how it is. That it is back, its own node
 * daemon says. Of one that was deleted and is lost, it removes the finalizer in the node daemon's place, once
 * nothing counts as left there: line 12 of the binding protocol.
 */
export function decideHost({ host, lost, holdsVms, sinceToldMs, now }: HostFactsForStatus): HostDecision {
  if (!lost) return {};
  const { deletionTimestamp, finalizers = [] } = host.metadata;
  if (deletionTimestamp !== undefined && !holdsVms && finalizers.includes(HOST_FINALIZER)) {
    return { finalizers: finalizers.filter((finalizer) => finalizer !== HOST_FINALIZER) };
  }
  const before = host.status ?? { observedGeneration: -1 };
  const unknown = {
    type: 'Ready',
    status: 'Unknown',
    reason: 'LeaseStale',
    message: 'the node daemon has stopped renewing its Lease; VMs may still run',
    observedGeneration: host.metadata.generation,
  } as const;
  const conditions = setCondition(before.conditions, unknown, new Date(now).toISOString());
  if (conditions === before.conditions) return {};
  if (sinceToldMs !== undefined && sinceToldMs < RETELL_HOST_AFTER_MS) {
    return { requeueAfterMs: RETELL_HOST_AFTER_MS - sinceToldMs };
  }
  return { status: { ...before, conditions } };
}
