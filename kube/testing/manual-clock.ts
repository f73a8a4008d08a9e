import type { Clock, Timer } from '../clock.ts';

interface Pending {
  readonly due: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is moved. For tests. */
export class ManualClock implements Clock {
  #now: number;
  #monotonic = 0;
  readonly #pending = new Set<Pending>();

  /** `now` is the wall clock's epoch milliseconds at the start. */
  constructor(now = Date.parse('2026-01-01T00:00:00Z')) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  setTimeout(callback: () => void, ms: number): Timer {
    const pending = { due: this.#monotonic + Math.max(0, ms), callback };
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  /** Number of callbacks that wait: what was not cleaned up. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Milliseconds until the next callback; undefined where none waits. */
  get nextIn(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.due - this.#monotonic;
  }

  /** Moves both clocks and runs what falls due, in order; promises are settled after each callback. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settle();
    for (let next = this.#next(); next !== undefined && next.due <= end; next = this.#next()) {
      this.#move(next.due - this.#monotonic);
      this.#pending.delete(next);
      next.callback();
      await settle();
    }
    this.#move(end - this.#monotonic);
    await settle();
  }

  /** Moves the wall clock alone, as an administrator or NTP does. */
  jump(ms: number): void {
    this.#now += ms;
  }

  #move(ms: number): void {
    this.#monotonic += ms;
    this.#now += ms;
  }

  #next(): Pending | undefined {
    let first: Pending | undefined;
    for (const pending of this.#pending) {
      if (first === undefined || pending.due < first.due) first = pending;
    }
    return first;
  }
}

/** Lets all promises that can settle without I/O settle. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
