import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type CrashPoint, pointName } from './boundary.ts';
import type { ChildOptions, Order, Tidings } from './child.ts';

const READY_DEADLINE_MS = 120_000;
const REACH_DEADLINE_MS = 60_000;
const KEPT_LINES = 200;
const COMPILE_CACHE = join(tmpdir(), 'shoes-vz-test-compile-cache');

/** What can be killed at a point of its life. */
export type Mortal = Pick<ChaosProcess<ChildOptions>, 'isRunning' | 'exited' | 'start' | 'arm' | 'calls'>;

/** A program of child.ts, running; started again by {@link start} after it was killed. */
export class ChaosProcess<T extends ChildOptions> {
  readonly #program: string;
  readonly #lines: string[] = [];
  #options: T;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #lastId = 0;

  /** `program`: a file beside this one. */
  constructor(program: string, options: T) {
    this.#program = join(import.meta.dirname, program);
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Settles when it has ended, for any reason. */
  get exited(): Promise<unknown> {
    return this.#exited;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The end of what it logged, in all its lives. */
  get output(): string {
    return this.#lines.join('\n');
  }

  /** Changes what later starts are given. */
  configure(options: Partial<T>): void {
    this.#options = { ...this.#options, ...options };
  }

  /**
   * Resolves when it is ready, or, where it is to die at a point while it starts, when it is ready or dead. Rejects
   * with its output where it ends by itself.
   */
  async start(point?: CrashPoint): Promise<void> {
    const options: ChildOptions = { ...this.#options, point };
    const child = spawn(process.execPath, [this.#program, JSON.stringify(options)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
    });
    this.#child = child;
    this.#exited = once(child, 'exit');
    if (child.stderr !== null) {
      createInterface({ input: child.stderr }).on('line', (line) => {
        this.#lines.push(line);
        this.#lines.splice(0, Math.max(0, this.#lines.length - KEPT_LINES));
      });
    }
    const signal = AbortSignal.timeout(READY_DEADLINE_MS);
    const ready = once(child, 'message', { signal }).then(() => true);
    ready.catch(() => undefined);
    const isReady = await Promise.race([ready, this.#exited.then(() => false)]);
    if (!isReady && !(point !== undefined && child.signalCode === 'SIGKILL')) {
      throw new Error(`${this.#program} ended with ${child.exitCode ?? child.signalCode}:\n${this.output}`);
    }
  }

  /**
   * From now on effects are counted, and it dies at the point, if one is given. Resolves when it has understood, or
   * has died of the last one.
   */
  async arm(point: CrashPoint | undefined): Promise<void> {
    await this.#ask({ arm: point ?? null });
  }

  /** Effects since it was armed, or started. */
  async calls(): Promise<readonly string[]> {
    return await this.#ask({ tell: 'calls' });
  }

  /**
   * From now on it stops at the point, once. `reached` resolves when it waits there; `release` lets it go on. The
   * rest of it, its Lease among it, goes on meanwhile.
   */
  async holdAt(point: CrashPoint): Promise<{ readonly reached: Promise<void>; release(): void }> {
    const { promise: reached, resolve, reject } = Promise.withResolvers<void>();
    const child = this.#child;
    const listener = (tidings: Tidings): void => {
      if ('held' in tidings) resolve();
    };
    child?.on('message', listener);
    const vain = () =>
      reject(new Error(`${this.#program} never came to: ${pointName(point)}\n${this.output}`));
    const timer = setTimeout(vain, REACH_DEADLINE_MS);
    reached
      .catch(() => undefined)
      .finally(() => {
        clearTimeout(timer);
        child?.off('message', listener);
      });
    await this.arm({ ...point, holds: true });
    return { reached, release: () => this.#send({ release: true }) };
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal);
  }

  async kill9(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** In order. */
  async stop(): Promise<void> {
    if (this.isRunning) this.#send({ stop: true });
    await this.#exited;
  }

  /** Empty where it ended before it answered. */
  async #ask(
    order: { readonly arm: CrashPoint | null } | { readonly tell: 'calls' },
  ): Promise<readonly string[]> {
    const child = this.#child;
    if (child === undefined) return [];
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<readonly string[]>();
    const listener = (tidings: Tidings): void => {
      if ('answers' in tidings && tidings.answers === id) answer.resolve(tidings.calls);
    };
    child.on('message', listener);
    this.#send({ id, ...order });
    try {
      return await Promise.race([answer.promise, this.#exited.then(() => [])]);
    } finally {
      child.off('message', listener);
    }
  }

  #send(order: Order): void {
    // That it died this moment is seen by who waits for that.
    if (this.#child?.connected) this.#child.send(order, () => undefined);
  }
}
