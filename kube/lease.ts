import { type Clock, sleep, systemClock, type Timer } from './clock.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { microTime } from './micro-time.ts';
import type { KubeObject, ObjectRef, ResourceType, Stored } from './object.ts';
import type { Resources } from './resources.ts';

/** coordination.k8s.io/v1 Lease, as far as it is used here. */
export interface Lease extends KubeObject {
  apiVersion: 'coordination.k8s.io/v1';
  kind: 'Lease';
  spec?:
    | {
        holderIdentity?: string | undefined;
        leaseDurationSeconds?: number | undefined;
        acquireTime?: string | undefined;
        renewTime?: string | undefined;
        leaseTransitions?: number | undefined;
      }
    | undefined;
}

export const LEASES: ResourceType<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

/** `Expired`: not renewed in time. `Taken`: another holder has it. `Deleted`: somebody deleted the object. */
export type LeaseLoss = 'Expired' | 'Taken' | 'Deleted' | 'Released';

export interface LeaseHolderOptions {
  readonly resources: Pick<Resources<Lease>, 'get' | 'create' | 'patch'>;
  readonly ref: ObjectRef;
  /** Whoever presents the same identity is the same holder: it must be unique to what the Lease protects. */
  readonly identity: string;
  /** How long a renewal counts; whole seconds. Default: 40 s. */
  readonly durationMs?: number | undefined;
  /**
   * How long a renewal is relied upon here. The rest of `durationMs` is left for what was begun before to end, so
   * that it has ended when another holder may begin. Default: all of `durationMs`.
   */
  readonly reliedOnMs?: number | undefined;
  /** Default: 10 s. */
  readonly renewEveryMs?: number | undefined;
  /** How often a renewal that failed, or a Lease that another holds, is tried. Default: 2 s. */
  readonly retryEveryMs?: number | undefined;
  readonly labels?: Record<string, string> | undefined;
  readonly onAcquired?: (() => void) | undefined;
  readonly onLost?: ((loss: LeaseLoss) => void) | undefined;
  /** A request failed; it is tried again. */
  readonly onProblem?: ((error: unknown) => void) | undefined;
  /** The Lease is, or is no longer (undefined), held fresh by another. */
  readonly onOtherHolder?: ((identity: string | undefined) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
}

/** What another holder's Lease looked like when it last changed, and until when it counts unchanged. */
interface Observation {
  readonly resourceVersion: string;
  /** Monotonic time after which it counts as run out. */
  readonly until: number;
}

/**
 * Holds a Lease for one identity, for as long as it runs, and knows at any moment whether it still may rely on
 * it. No two holders rely on a Lease at once: one counts its term from before the renewal was sent, the other
 * waits a whole term of its own clock from when it saw the last renewal. Wall clocks of two machines are
 * never compared; times written are for people.
 */
export class LeaseHolder {
  readonly #options: LeaseHolderOptions;
  readonly #clock: Clock;
  readonly #durationMs: number;
  readonly #reliedOnMs: number;
  readonly #stop = new AbortController();
  readonly #acquiring = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;
  #held: Stored<Lease> | undefined;
  #terms = 0;
  #freshUntil = Number.NEGATIVE_INFINITY;
  #wallFreshUntil = Number.NEGATIVE_INFINITY;
  #expiry: Timer | undefined;
  #observed: Observation | undefined;
  #otherHolder: string | undefined;
  #problem: unknown;
  #nap = new AbortController();
  #hurried = false;

  constructor(options: LeaseHolderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#durationMs = options.durationMs ?? 40_000;
    if (this.#durationMs < 1000 || this.#durationMs % 1000 !== 0) {
      throw new RangeError('durationMs must be whole seconds');
    }
    this.#reliedOnMs = Math.min(options.reliedOnMs ?? this.#durationMs, this.#durationMs);
    this.#acquiring.promise.catch(() => undefined);
  }

  /**
   * Whether the Lease may be relied upon now. Stricter than {@link freshUntil}: the wall clock is asked, too,
   * since the monotonic one may stand still while a machine sleeps.
   */
  get isFresh(): boolean {
    return this.#clock.monotonic() < this.#freshUntil && this.#clock.now() < this.#wallFreshUntil;
  }

  /** End of the current term on the monotonic clock; -Infinity while the Lease is not held. */
  get freshUntil(): number {
    return this.#freshUntil;
  }

  /** How often it was acquired: with each time that it was lost, others may have acted meanwhile. */
  get terms(): number {
    return this.#terms;
  }

  /** The holder that keeps the Lease from this one; undefined where there is none. */
  get otherHolder(): string | undefined {
    return this.#otherHolder;
  }

  /** Why the last turn failed; undefined where the API server answered. */
  get problem(): unknown {
    return this.#problem;
  }

  /** Resolves when the Lease is held for the first time; rejects when stopped before. */
  get acquired(): Promise<void> {
    return this.#acquiring.promise;
  }

  /** Begins to acquire, then to renew. Calling it again does nothing. */
  start(): void {
    if (!this.#stop.signal.aborted) this.#running ??= this.#run();
  }

  /** The Lease seems to have changed: the next turn is taken now. */
  hurry(): void {
    this.#hurried = true;
    this.#nap.abort();
  }

  /**
   * Ends the renewals; with `release`, hands the Lease back so that another need not wait for its end. Only
   * release when nothing that it protects goes on. Final.
   */
  async stop(options: { release: boolean }): Promise<void> {
    this.#stop.abort();
    this.#nap.abort();
    this.#acquiring.reject(new Error('stopped before the Lease was acquired'));
    await this.#running;
    const held = this.#held;
    const wasFresh = this.isFresh;
    this.#lose('Released');
    if (!options.release || held === undefined || !wasFresh) return;
    try {
      await this.#options.resources.patch(this.#options.ref, held.metadata.resourceVersion, {
        spec: { holderIdentity: null, leaseDurationSeconds: 1, renewTime: microTime(this.#clock.now()) },
      });
    } catch (error) {
      this.#options.onProblem?.(error);
    }
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#nap = new AbortController();
      this.#hurried = false;
      const startedAt = this.#clock.monotonic();
      const renewed = (await this.#turn()) && this.isFresh;
      if (this.#hurried || this.#stop.signal.aborted) continue;
      await sleep(
        this.#clock,
        this.#nextTurnAt(startedAt, renewed) - this.#clock.monotonic(),
        this.#nap.signal,
      );
    }
  }

  /** A Lease that runs out is tried at that moment, and not at the next turn after it. */
  #nextTurnAt(startedAt: number, renewed: boolean): number {
    const { renewEveryMs = 10_000, retryEveryMs = 2_000, random = Math.random } = this.#options;
    const turn = startedAt + (renewed ? renewEveryMs : retryEveryMs) * (1 - random() / 10);
    const until = this.#observed?.until ?? Number.NEGATIVE_INFINITY;
    return until >= this.#clock.monotonic() ? Math.min(turn, until + 1) : turn;
  }

  /** One attempt to acquire or renew; whether it succeeded. */
  async #turn(): Promise<boolean> {
    try {
      const known = this.#held;
      const renewed = known !== undefined && (await this.#renewKnown(known));
      const held = renewed || (await this.#readAndWrite());
      this.#problem = undefined;
      return held;
    } catch (error) {
      this.#problem = error;
      this.#options.onProblem?.(error);
      return false;
    }
  }

  /** The usual renewal: one request. False where the object changed since, or has gone. */
  async #renewKnown(known: Stored<Lease>): Promise<boolean> {
    try {
      await this.#write(known);
      return true;
    } catch (error) {
      if (isNotFound(error)) {
        this.#lose('Deleted');
        return false;
      }
      if (isConflict(error)) return false;
      throw error;
    }
  }

  async #readAndWrite(): Promise<boolean> {
    const { resources, ref, identity } = this.#options;
    const lease = await resources.get(ref);
    if (lease === undefined) return this.#isWaitedFor() ? false : await this.#create();
    const holder = lease.spec?.holderIdentity ?? '';
    if (holder !== '' && holder !== identity) {
      this.#lose('Taken');
      if (!this.#hasRunOut(lease, holder)) return false;
    }
    try {
      await this.#write(lease);
      return true;
    } catch (error) {
      // Somebody was faster: their write is judged on the next turn.
      if (isConflict(error) || isNotFound(error)) return false;
      throw error;
    }
  }

  /** Whether another holder's Lease was seen unchanged for the whole of its term, on this clock. */
  #hasRunOut(lease: Stored<Lease>, holder: string): boolean {
    const { resourceVersion } = lease.metadata;
    const now = this.#clock.monotonic();
    this.#setOtherHolder(holder);
    if (this.#observed?.resourceVersion !== resourceVersion) {
      const termMs = (lease.spec?.leaseDurationSeconds ?? this.#durationMs / 1000) * 1000;
      this.#observed = { resourceVersion, until: now + termMs };
      return false;
    }
    return !this.#isWaitedFor();
  }

  /** Whether another holder may still rely on what was seen of it last. */
  #isWaitedFor(): boolean {
    return this.#observed !== undefined && this.#clock.monotonic() <= this.#observed.until;
  }

  async #create(): Promise<boolean> {
    const { resources, ref, labels } = this.#options;
    const sent = this.#sentNow();
    try {
      const lease = await resources.create({
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { ...ref, ...(labels !== undefined && { labels }) },
        spec: this.#spec(undefined),
      });
      this.#gain(lease, sent);
      return true;
    } catch (error) {
      if (isAlreadyExists(error)) return false;
      throw error;
    }
  }

  async #write(lease: Stored<Lease>): Promise<void> {
    const sent = this.#sentNow();
    const { resources, ref } = this.#options;
    const written = await resources.patch(ref, lease.metadata.resourceVersion, { spec: this.#spec(lease) });
    this.#gain(written, sent);
  }

  #spec(lease: Stored<Lease> | undefined): NonNullable<Lease['spec']> {
    const { identity } = this.#options;
    const renewTime = microTime(this.#clock.now());
    const taken = lease?.spec?.holderIdentity !== identity;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: this.#durationMs / 1000,
      renewTime,
      ...(taken && {
        acquireTime: renewTime,
        leaseTransitions: lease === undefined ? 0 : (lease.spec?.leaseTransitions ?? 0) + 1,
      }),
    };
  }

  #sentNow(): { monotonic: number; wall: number } {
    return { monotonic: this.#clock.monotonic(), wall: this.#clock.now() };
  }

  #gain(lease: Stored<Lease>, sent: { monotonic: number; wall: number }): void {
    const wasHeld = this.#freshUntil !== Number.NEGATIVE_INFINITY;
    this.#held = lease;
    this.#observed = undefined;
    this.#setOtherHolder(undefined);
    if (this.#clock.monotonic() >= sent.monotonic + this.#reliedOnMs) return;
    this.#freshUntil = sent.monotonic + this.#reliedOnMs;
    this.#wallFreshUntil = sent.wall + this.#reliedOnMs;
    this.#expiry?.cancel();
    this.#expiry = this.#clock.setTimeout(() => this.#expire(), this.#freshUntil - this.#clock.monotonic());
    this.#acquiring.resolve();
    if (wasHeld) return;
    this.#terms += 1;
    this.#options.onAcquired?.();
  }

  /** The term is over. The object is remembered: a renewal may still come through and begin a new term. */
  #expire(): void {
    const held = this.#held;
    this.#lose('Expired');
    this.#held = held;
  }

  #lose(loss: LeaseLoss): void {
    const wasHeld = this.#freshUntil !== Number.NEGATIVE_INFINITY;
    this.#held = undefined;
    this.#freshUntil = Number.NEGATIVE_INFINITY;
    this.#wallFreshUntil = Number.NEGATIVE_INFINITY;
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (wasHeld) this.#options.onLost?.(loss);
  }

  #setOtherHolder(holder: string | undefined): void {
    if (this.#otherHolder === holder) return;
    this.#otherHolder = holder;
    this.#options.onOtherHolder?.(holder);
  }
}
