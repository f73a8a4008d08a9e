import type { Logger } from '../../kube/log.ts';

/** Pieces of work in the background that end together. */
export class Works {
  readonly #log: Logger;
  readonly #end = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  get hasEnded(): boolean {
    return this.#end.signal.aborted;
  }

  get isEmpty(): boolean {
    return this.#running.size === 0;
  }

  /** Begins one. `signal` is aborted by {@link end}; what it throws before is a bug, and is logged. */
  run(work: (signal: AbortSignal) => Promise<void>): void {
    const { signal } = this.#end;
    const running = work(signal).catch((error: unknown) => {
      if (!signal.aborted) this.#log.error({ err: error }, 'unexpected failure');
    });
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  /** Tells all works to end, and returns when they have. Idempotent. */
  async end(): Promise<void> {
    this.#end.abort();
    await Promise.all([...this.#running]);
  }
}
