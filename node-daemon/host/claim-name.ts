import type { Host, HostKind } from '../../crds/host.ts';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { type Clock, sleep } from '../../kube/clock.ts';
import { isNotFound } from '../../kube/errors.ts';
import { ExplainedError } from '../../kube/explained-error.ts';
import { type Lease, LeaseHolder, type LeaseLoss } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';

/** How often a Lease that may be a dead machine's is looked at. */
const LOOK_EVERY_MS = 2_000;

export interface ClaimOptions {
  readonly leases: Pick<Resources<Lease>, 'get' | 'create' | 'patch'>;
  readonly name: string;
  readonly machineId: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a renewal counts; whole seconds. Default: the LeaseHolder's. */
  readonly durationMs?: number | undefined;
  readonly renewEveryMs?: number | undefined;
  /** Ends the claim, which then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** The Lease was acquired, lost, or acquired again. */
  changed(): void;
}

/**
 * Takes the Lease that makes a host's name unique across both kinds, and keeps it. Refuses at once, with
 * {@link HostNameTakenError}, where another machine renews it. The Lease of a machine that seems dead is
 * taken over after it was watched for its whole term. Rejects where the API server does not answer.
 */
export async function claimName(options: ClaimOptions): Promise<LeaseHolder> {
  const { leases, name, machineId, clock, log } = options;
  const failed = Promise.withResolvers<never>();
  const otherSeen = Promise.withResolvers<void>();
  let claimed = false;
  const holder = new LeaseHolder({
    resources: leases,
    ref: leaseRef(name),
    identity: machineId,
    durationMs: options.durationMs,
    renewEveryMs: options.renewEveryMs,
    clock,
    onAcquired: options.changed,
    onLost: (loss) => {
      if (loss !== 'Released') log.warn({ host: name, loss }, LOSSES[loss]);
      options.changed();
    },
    onOtherHolder: (other) => {
      otherSeen.resolve();
      if (other !== undefined && claimed)
        log.error({ host: name, machine: other }, 'another machine holds the Lease');
    },
    onProblem: (error) => {
      failed.reject(explain(error));
      if (claimed) log.warn({ host: name, err: error }, 'the Lease could not be renewed; it is tried again');
    },
  });
  // Once the name is claimed nobody waits for a failure any more.
  failed.promise.catch(() => undefined);
  const over = new AbortController();
  const abort = () => failed.reject(options.signal?.reason);
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    options.signal?.throwIfAborted();
    holder.start();
    const refused = otherSeen.promise.then(() => refuseWhereAlive(options, over.signal));
    await Promise.race([holder.acquired, failed.promise, refused]);
    claimed = true;
    return holder;
  } catch (error) {
    await holder.stop({ release: true });
    throw error;
  } finally {
    over.abort();
    options.signal?.removeEventListener('abort', abort);
  }
}

export const leaseRef = (hostName: string) => ({ namespace: SYSTEM_NAMESPACE, name: hostName });

const LOSSES: Record<Exclude<LeaseLoss, 'Released'>, string> = {
  Expired: 'the Lease has expired: nothing is started or destroyed before it is renewed',
  Taken: 'another machine took the Lease: nothing is started or destroyed any more',
  Deleted: 'the Lease was deleted: nothing is started or destroyed before there is one again',
};

/**
 * Throws as soon as the holder shows that it lives: a renewal within its term by the wall clock, or one seen
 * here. A clock that is wrong can only make it refuse, not take what is another's. Returns when `signal` is aborted.
 */
async function refuseWhereAlive(options: ClaimOptions, signal: AbortSignal): Promise<void> {
  const { leases, name, machineId, clock, log } = options;
  let first: string | undefined;
  while (!signal.aborted) {
    const lease = await leases.get(leaseRef(name));
    const holder = lease?.spec?.holderIdentity;
    if (lease !== undefined && holder !== undefined && holder !== '' && holder !== machineId) {
      first ??= lease.metadata.resourceVersion;
      if (lease.metadata.resourceVersion !== first || isWithinTerm(lease, clock.now())) {
        throw new HostNameTakenError(name, `machine ${holder} serves it now`, 'stop its node daemon');
      }
      log.info(
        { host: name, machine: holder },
        'the name belongs to a machine that seems dead; waiting for its Lease to end',
      );
    }
    await sleep(clock, LOOK_EVERY_MS, signal);
  }
}

function explain(error: unknown): unknown {
  if (!isNotFound(error) || error.details?.kind !== 'namespaces') return error;
  return new ExplainedError(`the namespace ${SYSTEM_NAMESPACE} is missing on the API server; create it`, {
    cause: error,
  });
}

function isWithinTerm(lease: Stored<Lease>, now: number): boolean {
  const { renewTime, leaseDurationSeconds } = lease.spec ?? {};
  if (renewTime === undefined || leaseDurationSeconds === undefined) return false;
  return now < Date.parse(renewTime) + leaseDurationSeconds * 1000;
}

/** The refusal that a host object of another machine calls for. */
export function takenByObject(object: Stored<Host>): HostNameTakenError {
  const { kind, metadata, status } = object;
  const machine = status?.nodeInfo?.machineID ?? 'unknown';
  const root = status?.nodeInfo?.hostRoot;
  return new HostNameTakenError(
    metadata.name,
    `the ${kind} of that name belongs to machine ${machine}${root === undefined ? '' : ` with host root ${root}`}`,
    `if that is gone for good, delete the ${kind}, which declares its VMs dead`,
  );
}

/** The refusal where a host of the other kind has the name. */
export function takenByOtherKind(name: string, other: HostKind): HostNameTakenError {
  return new HostNameTakenError(
    name,
    `there is a ${other} of that name`,
    `if it is not needed any more, delete the ${other}`,
  );
}

/** Another machine has the host name. The message is one line that says who and what to do. */
export class HostNameTakenError extends ExplainedError {
  constructor(name: string, who: string, remedy: string) {
    super(`the host name "${name}" is taken: ${who}; give this host another name, or ${remedy}`);
    this.name = 'HostNameTakenError';
  }
}
