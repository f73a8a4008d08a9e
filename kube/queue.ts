import { type BackoffOptions, backoffMs } from './backoff.ts';
import { type Clock, systemClock, type Timer } from './clock.ts';

/** What a handler may ask for. Nothing: the key is done until it is added again. */
export type QueueResult = { readonly requeueAfterMs: number } | undefined;

/** Told of the queue's work, for metrics. Durations in milliseconds. */
export interface QueueObserver {
  /** Number of keys that wait for a worker. */
  depth?(keys: number): void;
  /** How long a key waited before its work began. */
  waited?(ms: number): void;
  /** How long a handler ran, and whether it threw. */
  worked?(ms: number, failed: boolean): void;
}

export interface WorkQueueOptions {
  /**
   * Does the work of one key. Never runs twice at once for the same key. Throwing means: try again after a
   * back-off. `signal` is aborted when the queue is shut down without patience.
   */
  readonly handle: (key: string, signal: AbortSignal) => Promise<QueueResult>;
  /** Handlers that run at once. */
  readonly concurrency: number;
  /**
   * A handler threw; it runs again in `retryInMs` (Infinity: never, the queue is being drained). `failures` are
   * in a row.
   */
  readonly onError: (key: string, error: unknown, failures: number, retryInMs: number) => void;
  /** Default: 200 ms, doubled up to 60 s. */
  readonly backoff?: BackoffOptions | undefined;
  readonly observer?: QueueObserver | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
}

const DEFAULT_BACKOFF = { baseMs: 200, maxMs: 60_000 };

/**
 * Keys that need work, and the workers that do it. A key that is added while it waits is there once; one that is
 * added while its handler runs is handled again afterwards. First come, first served. Memory is bounded by
 * the number of distinct keys.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  /** Keys that wait for a worker, since when. */
  readonly #ready = new Map<string, number>();
  readonly #running = new Set<string>();
  /** Keys that were added while their handler ran. */
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, { readonly due: number; readonly timer: Timer }>();
  readonly #abort = new AbortController();
  #idleWaiters: (() => void)[] = [];
  #started = false;
  #closed = false;

  constructor(options: WorkQueueOptions) {
    if (!Number.isInteger(options.concurrency) || options.concurrency < 1) {
      throw new RangeError('concurrency must be a positive integer');
    }
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  /** Keys that wait for a worker. */
  get depth(): number {
    return this.#ready.size;
  }

  /** Keys whose handler runs. */
  get running(): number {
    return this.#running.size;
  }

  /** Lets the workers begin. Keys may be added before. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** Does nothing after shutdown. */
  add(key: string): void {
    if (this.#closed) return;
    if (this.#running.has(key)) this.#again.add(key);
    else this.#enqueue(key);
    this.#pump();
  }

  /** Adds the key after a while. One such wait per key: the earliest wins. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const due = this.#clock.monotonic() + ms;
    const pending = this.#timers.get(key);
    if (pending !== undefined && pending.due <= due) return;
    pending?.timer.cancel();
    const timer = this.#clock.setTimeout(() => {
      this.#timers.delete(key);
      this.add(key);
    }, ms);
    this.#timers.set(key, { due, timer });
  }

  /** Adds the key after the back-off that its failures in a row have earned, this one included. Returns it. */
  addRateLimited(key: string): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const delayMs = backoffMs(failures, this.#options.backoff ?? DEFAULT_BACKOFF, this.#random);
    this.addAfter(key, delayMs);
    return delayMs;
  }

  /** Ends the key's back-off; what is waiting goes on waiting. Success of a handler does it, too. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Resolves when no key waits for a worker and no handler runs. Keys added for later do not count. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /**
   * Takes no more keys, drops those that are to be added later, and resolves when no handler runs any more.
   * With `drain`, what already waits is handled first. Handlers are aborted at once without `drain`, or
   * else after `patienceMs` (default: never).
   */
  async shutdown(options: { drain?: boolean; patienceMs?: number } = {}): Promise<void> {
    this.#closed = true;
    for (const { timer } of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    if (!options.drain) this.#giveUp();
    const patience =
      options.patienceMs === undefined
        ? undefined
        : this.#clock.setTimeout(() => this.#giveUp(), options.patienceMs);
    if (options.drain && !this.#started) this.start();
    await this.idle();
    patience?.cancel();
  }

  #giveUp(): void {
    this.#ready.clear();
    this.#again.clear();
    this.#abort.abort();
    this.#settleIdle();
  }

  #enqueue(key: string): void {
    if (this.#ready.has(key)) return;
    this.#ready.set(key, this.#clock.monotonic());
    this.#options.observer?.depth?.(this.#ready.size);
  }

  #pump(): void {
    while (this.#started && this.#running.size < this.#options.concurrency) {
      const next = this.#ready.entries().next().value;
      if (next === undefined) return;
      const [key, since] = next;
      this.#ready.delete(key);
      this.#running.add(key);
      this.#options.observer?.depth?.(this.#ready.size);
      this.#options.observer?.waited?.(this.#clock.monotonic() - since);
      void this.#work(key);
    }
  }

  async #work(key: string): Promise<void> {
    const startedAt = this.#clock.monotonic();
    let failed = false;
    try {
      const result = await this.#options.handle(key, this.#abort.signal);
      this.#failures.delete(key);
      if (result !== undefined) this.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      failed = true;
      if (!this.#abort.signal.aborted) {
        const retryInMs = this.addRateLimited(key);
        const never = Number.POSITIVE_INFINITY;
        this.#options.onError(key, error, this.#failures.get(key) ?? 1, this.#closed ? never : retryInMs);
      }
    } finally {
      this.#options.observer?.worked?.(this.#clock.monotonic() - startedAt, failed);
      this.#running.delete(key);
      if (this.#again.delete(key)) this.#enqueue(key);
      this.#pump();
      this.#settleIdle();
    }
  }

  #isIdle(): boolean {
    return this.#ready.size === 0 && this.#running.size === 0;
  }

  #settleIdle(): void {
    if (!this.#isIdle()) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
