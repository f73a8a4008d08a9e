import type { Random } from './random.ts';

const REAL = {
  random: Math.random,
  dateNow: Date.now,
  performanceNow: performance.now,
  setTimeout: globalThis.setTimeout,
  setInterval: globalThis.setInterval,
  stackTraceLimit: Error.stackTraceLimit,
};

function forbidden(what: string): () => never {
  return () => {
    throw new Error(
      `${what} was called: it is no part of a simulation, which has its own time and randomness`,
    );
  };
}

/**
 * While it is up, nothing in this process comes by real time or real randomness: Math.random is the seed's, and
 * whoever asks the real clock gets an error. Errors that nobody handles are collected.
 */
export class Guard {
  readonly #random: Random;
  #errors: unknown[] = [];
  readonly #caught = (error: unknown): void => void this.#errors.push(error);

  constructor(random: Random) {
    this.#random = random;
  }

  /** Stack traces are half of what an error costs: they are kept where somebody reads them. */
  up({ stacks }: { readonly stacks: boolean }): void {
    Error.stackTraceLimit = stacks ? 30 : 0;
    Math.random = () => this.#random.next();
    Date.now = forbidden('Date.now');
    performance.now = forbidden('performance.now');
    globalThis.setTimeout = forbidden('setTimeout') as unknown as typeof setTimeout;
    globalThis.setInterval = forbidden('setInterval') as unknown as typeof setInterval;
    process.on('unhandledRejection', this.#caught);
    process.on('uncaughtException', this.#caught);
  }

  down(): void {
    Error.stackTraceLimit = REAL.stackTraceLimit;
    Math.random = REAL.random;
    Date.now = REAL.dateNow;
    performance.now = REAL.performanceNow;
    globalThis.setTimeout = REAL.setTimeout;
    globalThis.setInterval = REAL.setInterval;
    process.off('unhandledRejection', this.#caught);
    process.off('uncaughtException', this.#caught);
  }

  takeErrors(): unknown[] {
    if (this.#errors.length === 0) return this.#errors;
    const errors = this.#errors;
    this.#errors = [];
    return errors;
  }
}
