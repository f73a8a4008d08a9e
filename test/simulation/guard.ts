import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { Random } from './random.ts';

/** Told of whatever a program did that has no place in a simulation. */
let onLeak: (what: string) => void = () => undefined;
let isUp = false;
let random: () => number = Math.random;

/** The function, but while a guard is up: then it is told of, and fails. */
const guarded = <F extends (...args: never[]) => unknown>(name: string, real: F): F =>
  ((...args: Parameters<F>) => {
    if (!isUp) return real(...args);
    onLeak(name);
    throw new Error(`${name} was called in a simulation, which has its own time, disk and randomness`);
  }) as F;

/** Everything in this process by which real time, real randomness or a real disk could come into a simulation. */
function install(): void {
  const realRandom = Math.random;
  Math.random = () => (isUp ? random() : realRandom());
  Date.now = guarded('Date.now', Date.now);
  performance.now = guarded('performance.now', performance.now.bind(performance));
  globalThis.setTimeout = guarded('setTimeout', globalThis.setTimeout) as typeof setTimeout;
  globalThis.setInterval = guarded('setInterval', globalThis.setInterval) as typeof setInterval;
  AbortSignal.timeout = guarded('AbortSignal.timeout', AbortSignal.timeout.bind(AbortSignal));
  const files = fs as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(files)) {
    if (typeof value !== 'function') continue;
    const either = guarded(`fs.${name}`, value as (...args: never[]) => unknown);
    files[name] = async (...args: never[]) => await either(...args);
  }
  crypto.randomUUID = guarded('crypto.randomUUID', crypto.randomUUID);
  crypto.randomBytes = guarded('crypto.randomBytes', crypto.randomBytes) as typeof crypto.randomBytes;
  syncBuiltinESMExports();
}

let isInstalled = false;

/**
 * While it is up, nothing in this process comes by real time, real randomness or a real disk: Math.random is the
 * seed's, and whoever asks for another gets an error, which is collected as those are that nobody handles.
 */
export class Guard {
  readonly #random: Random;
  readonly #stackTraceLimit = Error.stackTraceLimit;
  #errors: unknown[] = [];
  readonly #caught = (error: unknown): void => void this.#errors.push(error);

  constructor(from: Random) {
    this.#random = from;
  }

  /** Stack traces are half of what an error costs: they are kept where somebody reads them. */
  up({ stacks }: { readonly stacks: boolean }): void {
    if (!isInstalled) install();
    isInstalled = true;
    isUp = true;
    random = () => this.#random.next();
    onLeak = (what) => this.#caught(new Error(`${what} was called in a simulation`));
    Error.stackTraceLimit = stacks ? 30 : 0;
    process.on('unhandledRejection', this.#caught);
    process.on('uncaughtException', this.#caught);
  }

  down(): void {
    isUp = false;
    Error.stackTraceLimit = this.#stackTraceLimit;
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
