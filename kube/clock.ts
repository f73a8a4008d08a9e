/** A pending callback. Cancelling one that ran or was cancelled does nothing. */
export interface Timer {
  cancel(): void;
}

/** Time, passed in so that code which waits can be tested without waiting. */
export interface Clock {
  /** Wall clock, epoch milliseconds. For what people and the API server read; it can jump. */
  now(): number;
  /** Milliseconds from an arbitrary origin that never go back. For all durations and deadlines. */
  monotonic(): number;
  /** Calls back once, not before `ms` have passed. Any finite delay is fine, negative ones count as 0. */
  setTimeout(callback: () => void, ms: number): Timer;
}

/** Longest delay that Node's timers take; a longer one would fire at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** The real clock. Its timers keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(callback, ms) {
    const due = performance.now() + ms;
    let handle: NodeJS.Timeout;
    const arm = () => {
      const left = due - performance.now();
      handle =
        left > MAX_TIMEOUT_MS ? setTimeout(arm, MAX_TIMEOUT_MS) : setTimeout(callback, Math.max(0, left));
    };
    arm();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Waits; returns early, without an error, once `signal` is aborted. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const done = () => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}
