/** A wait that somebody else's event ends. */
interface Waiter {
  readonly isOver: () => boolean;
  readonly resolve: () => void;
}

/**
 * When things were first seen, in milliseconds of `performance.now()`: the one clock of a benchmark. Keys are
 * whatever names a thing.
 */
export class Moments {
  readonly #seen = new Map<string, number>();
  readonly #waiters = new Set<Waiter>();

  /** The first moment counts. */
  stamp(key: string, at: number = performance.now()): void {
    if (this.#seen.has(key)) return;
    this.#seen.set(key, at);
    for (const waiter of this.#waiters) if (waiter.isOver()) waiter.resolve();
  }

  get(key: string): number | undefined {
    return this.#seen.get(key);
  }

  /** Throws where it was not seen: a figure must not be made up. */
  at(key: string): number {
    const at = this.#seen.get(key);
    if (at === undefined) throw new Error(`${key} was not seen`);
    return at;
  }

  /** Resolves when it is seen, or was. Rejects after a while. */
  async seen(key: string, deadlineMs = 180_000): Promise<number> {
    if (!this.#seen.has(key)) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = { isOver: () => this.#seen.has(key), resolve };
      this.#waiters.add(waiter);
      const timer = setTimeout(
        () => reject(new Error(`${key} was not seen within ${deadlineMs} ms`)),
        deadlineMs,
      );
      try {
        await promise;
      } finally {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      }
    }
    return this.at(key);
  }
}
