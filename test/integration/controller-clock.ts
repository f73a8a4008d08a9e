import { type Clock, systemClock, type Timer } from '../../kube/clock.ts';

interface Pending {
  readonly due: number;
  readonly callback: () => void;
  timer: Timer;
}

/** The real clock, which a test can put forward: what is due by then happens at once. */
export class SkippingClock implements Clock {
  readonly #pending = new Set<Pending>();
  #skippedMs = 0;

  now(): number {
    return systemClock.now() + this.#skippedMs;
  }

  monotonic(): number {
    return systemClock.monotonic() + this.#skippedMs;
  }

  setTimeout(callback: () => void, ms: number): Timer {
    const due = this.monotonic() + ms;
    const pending: Pending = { due, callback, timer: this.#arm(() => this.#run(pending), ms) };
    this.#pending.add(pending);
    return {
      cancel: () => {
        pending.timer.cancel();
        this.#pending.delete(pending);
      },
    };
  }

  skip(ms: number): void {
    this.#skippedMs += ms;
    for (const pending of this.#pending) {
      pending.timer.cancel();
      pending.timer = this.#arm(() => this.#run(pending), pending.due - this.monotonic());
    }
  }

  #arm(callback: () => void, ms: number): Timer {
    return systemClock.setTimeout(callback, ms);
  }

  #run(pending: Pending): void {
    this.#pending.delete(pending);
    pending.callback();
  }
}
