import type { Timer } from '../../kube/clock.ts';

interface Entry {
  readonly due: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Callbacks of the event loop that are asked for at once: between two of them all promises settle. */
const BATCH = 64;

/**
 * True time, in milliseconds, which moves only from one entry to the next. Whatever an entry sets off without time
 * of its own, promises included, is done before the next entry runs.
 */
export class Timeline {
  #now = 0;
  #order = 0;
  #steps = 0;
  readonly #heap: Entry[] = [];

  get now(): number {
    return this.#now;
  }

  /** Entries that ran so far. */
  get steps(): number {
    return this.#steps;
  }

  at(due: number, run: () => void): Timer {
    this.#order += 1;
    const entry: Entry = { due: Math.max(this.#now, due), order: this.#order, run, cancelled: false };
    this.#push(entry);
    return {
      cancel: () => {
        entry.cancelled = true;
      },
    };
  }

  after(ms: number, run: () => void): Timer {
    return this.at(this.#now + ms, run);
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  /**
   * Lets time pass until `isOver` says so, which is asked before each entry, or until nothing is left that could
   * happen. Rejects with what an entry throws.
   */
  run(isOver: () => boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let over = false;
    let pending = 0;
    const turn = (): void => {
      pending -= 1;
      if (over) return;
      try {
        over = isOver() || !this.#step();
      } catch (error) {
        over = true;
        reject(error);
      }
      if (over) resolve();
      else if (pending === 0) ask();
    };
    const ask = (): void => {
      pending = BATCH;
      for (let left = BATCH; left > 0; left -= 1) setImmediate(turn);
    };
    ask();
    return promise;
  }

  #step(): boolean {
    for (;;) {
      const entry = this.#pop();
      if (entry === undefined) return false;
      if (entry.cancelled) continue;
      this.#now = entry.due;
      this.#steps += 1;
      entry.run();
      return true;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >>> 1;
      const above = heap[parent] as Entry;
      if (!isBefore(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, heap[child] as Entry)) child += 1;
      const below = heap[child] as Entry;
      if (!isBefore(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.due < b.due || (a.due === b.due && a.order < b.order);
