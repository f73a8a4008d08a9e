import { randomBytes } from 'node:crypto';
import type { KubeClient } from './client.ts';
import type { Clock } from './clock.ts';
import { Informer } from './informer.ts';
import { LEASES, type Lease, LeaseHolder, type LeaseLoss } from './lease.ts';
import type { ObjectRef } from './object.ts';

/** Why a leader leads no more, though nobody stopped it. */
export type LeadershipLoss = Exclude<LeaseLoss, 'Released'>;

export interface LeaderElectionOptions {
  /**
   * A client of the election's own, so that no renewal waits for other requests. Its calls should end within
   * {@link ELECTION_CALL_TIMEOUT_MS}.
   */
  readonly client: Pick<KubeClient, 'resources' | 'collection'>;
  readonly lease: ObjectRef;
  /** Of this process alone: see {@link candidateName}. */
  readonly identity: string;
  /** Another candidate leads; undefined where none does any more. */
  readonly onOtherLeader: (identity: string | undefined) => void;
  /** Leading is over for good: nothing may be written any more. */
  readonly onLost: (loss: LeadershipLoss) => void;
  /** A request failed; it is tried again in so many milliseconds. */
  readonly onProblem: (error: unknown, retryInMs: number) => void;
  readonly clock: Clock;
  readonly random?: (() => number) | undefined;
}

/** For how long others leave a leader alone that is not heard of. */
export const LEASE_TERM_MS = 15_000;
/** For how long a leader relies on a renewal itself. */
export const RELIED_ON_MS = 10_000;
/** A call that was begun while leading sends nothing after the term if it is bounded by this. */
export const LEADER_CALL_TIMEOUT_MS = LEASE_TERM_MS - RELIED_ON_MS;
/** Leaves time for a second try before a renewal counts no more. */
export const ELECTION_CALL_TIMEOUT_MS = 3_000;
const RENEW_EVERY_MS = 5_000;
const RETRY_EVERY_MS = 2_000;

/** `<hostname>_<random>`: a process that was started again is another candidate. */
export const candidateName = (hostname: string): string => `${hostname}_${randomBytes(8).toString('hex')}`;

/**
 * One candidate among several processes of which one works at a time. Whoever leads must ask {@link isLeader} right
 * before each write: a process that was stopped and resumed learns there that its time is over.
 *
 *     waiting ──elected──► leading ──lost──► over
 *        └────────────stop──────┴──────────────▲
 *
 * The time between two leaders is at most the term and a look ({@link RETRY_EVERY_MS}) where the first one dies, and
 * the time of a request where it stops in order.
 */
export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #holder: LeaseHolder;
  readonly #watch: Informer<Lease>;
  #isOver = false;

  constructor(options: LeaderElectionOptions) {
    const { client, lease, identity, clock, random } = options;
    this.#options = options;
    this.#holder = new LeaseHolder({
      resources: client.resources(LEASES),
      ref: lease,
      identity,
      durationMs: LEASE_TERM_MS,
      reliedOnMs: RELIED_ON_MS,
      renewEveryMs: RENEW_EVERY_MS,
      retryEveryMs: RETRY_EVERY_MS,
      onLost: (loss) => this.#lost(loss),
      onProblem: (error) => options.onProblem(error, RETRY_EVERY_MS),
      onOtherHolder: (leader) => {
        if (!this.#isOver) options.onOtherLeader(leader);
      },
      clock,
      random,
    });
    this.#watch = new Informer<Lease>({
      client,
      type: LEASES,
      namespace: lease.namespace,
      fieldSelector: `metadata.name=${lease.name}`,
      clock,
      random,
    });
    this.#watch.on({
      updated: (_, { spec }) => this.#holderSeen(spec?.holderIdentity ?? ''),
      deleted: () => this.#holder.hurry(),
    });
    this.elected.catch(() => undefined);
  }

  /** Whether this process leads now, and may write. False for good once it was lost. */
  get isLeader(): boolean {
    return !this.#isOver && this.#holder.isFresh;
  }

  /** The one that keeps this candidate waiting. */
  get otherLeader(): string | undefined {
    return this.#holder.otherHolder;
  }

  /** Why the last request failed; undefined where it did not. */
  get problem(): unknown {
    return this.#holder.problem;
  }

  /** Resolves when this candidate leads; rejects when stopped before. */
  get elected(): Promise<void> {
    return this.#holder.acquired;
  }

  /** Stands for election. */
  start(): void {
    this.#holder.start();
    // It only hastens what the holder does by itself: whatever becomes of it, nothing waits for it.
    this.#watch.start();
  }

  /** Lets another lead at once. Only when nothing is being written any more. Final. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#watch.stop();
    await this.#holder.stop({ release: true });
  }

  /** A candidate hears that the Lease is free, and a leader that another one has it. */
  #holderSeen(identity: string): void {
    const isNews = this.isLeader ? identity !== this.#options.identity : identity === '';
    if (isNews) this.#holder.hurry();
  }

  #lost(loss: LeaseLoss): void {
    if (this.#isOver || loss === 'Released') return;
    this.#isOver = true;
    this.#options.onLost(loss);
  }
}
