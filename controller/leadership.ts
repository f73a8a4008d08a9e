import { hostname } from 'node:os';
import { CONTROLLER_LEASE, SYSTEM_NAMESPACE } from '../crds/meta.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../kube/clock.ts';
import { guardWrites } from '../kube/guarded-client.ts';
import { candidateName, LeaderElection, type LeadershipLoss } from '../kube/leader-election.ts';
import type { Logger } from '../kube/log.ts';
import { ControllerError } from './error.ts';

export interface ElectionOptions {
  /** Not the one that the controller works with: see LeaderElectionOptions. The caller's: it is not closed here. */
  readonly client: Pick<KubeClient, 'resources' | 'collection'>;
  /** Default: the machine's name and some random digits. */
  readonly identity?: string | undefined;
}

export interface LeadershipOptions {
  /** Absent: this controller is the only one and always leads. */
  readonly election: ElectionOptions | undefined;
  readonly onLost: (loss: ControllerError) => void;
  readonly onProblem: (error: Error, retryInMs: number) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const LEASE = { namespace: SYSTEM_NAMESPACE, name: CONTROLLER_LEASE };

/** Whether this controller is the one that works. */
export class Leadership {
  readonly #election: LeaderElection | undefined;

  constructor({ election, onLost, onProblem, clock, log }: LeadershipOptions) {
    if (election === undefined) return;
    const { client, identity = candidateName(hostname()) } = election;
    this.#election = new LeaderElection({
      client,
      identity,
      lease: LEASE,
      onOtherLeader: (leader) => {
        if (leader !== undefined) log.info({ leader, identity }, 'another controller leads; this one waits');
      },
      onLost: (loss) => onLost(new ControllerError(explain(loss))),
      onProblem: (error, retryInMs) =>
        onProblem(error instanceof Error ? error : new Error(String(error)), retryInMs),
      clock,
    });
  }

  /** Asked right before each write. */
  get isLeader(): boolean {
    return this.#election?.isLeader ?? true;
  }

  /** Another controller is known to lead. */
  get isWaiting(): boolean {
    return this.#election?.otherLeader !== undefined;
  }

  /** Whether the Lease can be read and written. */
  get isWell(): boolean {
    return this.#election?.problem === undefined;
  }

  /** The client that this controller writes with. */
  guard(client: KubeClient): KubeClient {
    return this.#election === undefined ? client : guardWrites(client, () => this.isLeader);
  }

  /** Resolves when this controller leads. Rejects when stopped before. */
  async elected(): Promise<void> {
    this.#election?.start();
    await this.#election?.elected;
  }

  /** Lets another lead. When nothing is being written any more. */
  async stop(): Promise<void> {
    await this.#election?.stop();
  }
}

function explain(loss: LeadershipLoss): string {
  const lease = `Lease ${LEASE.namespace}/${LEASE.name}`;
  const reasons: Record<LeadershipLoss, string> = {
    Expired: `${lease} could not be renewed in time`,
    Taken: `another controller holds ${lease}`,
    Deleted: `somebody deleted ${lease}`,
  };
  return `this controller leads no more: ${reasons[loss]}; start it again to let it wait for its turn`;
}
