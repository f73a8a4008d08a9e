import type { Clock } from './clock.ts';

export interface TokenBucketOptions {
  /** Most that can be taken at once. */
  readonly capacity: number;
  readonly perSecond: number;
  readonly clock: Clock;
}

/** A rate limit that allows bursts. */
export class TokenBucket {
  readonly #options: TokenBucketOptions;
  #tokens: number;
  #filledAt: number;

  constructor(options: TokenBucketOptions) {
    this.#options = options;
    this.#tokens = options.capacity;
    this.#filledAt = options.clock.monotonic();
  }

  /** Takes a token and returns 0; where there is none, milliseconds until there is one, and takes nothing. */
  take(): number {
    const { capacity, perSecond, clock } = this.#options;
    const now = clock.monotonic();
    this.#tokens = Math.min(capacity, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / perSecond) * 1000);
    this.#tokens -= 1;
    return 0;
  }
}
