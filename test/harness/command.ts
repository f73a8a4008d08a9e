import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cacheDirectory } from '../../cli/control-plane/binaries-cache.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const DEADLINE_MS = 120_000;

/** How a command ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `shoes-vz` in a process of its own, which leads a process group as a command in a terminal does. */
export class Command {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #stdout = '';
  #stderr = '';
  #end: Ended | undefined;

  /** Our own environment holds back, but for what finds programs and what was built before. */
  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const { PATH = '', HOME = '', TMPDIR } = process.env;
    const own = { PATH, HOME, SHOESVZ_CACHE_DIR: cacheDirectory(process.env), ...(TMPDIR && { TMPDIR }) };
    const child = spawn(process.execPath, [MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...own, ...env },
    });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#stdout += `${line}\n`;
      this.#wake();
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#stderr += `${line}\n`;
      this.#wake();
    });
    this.ended = once(child, 'close').then(([code, signal]) => {
      this.#end = { code, signal, stdout: this.#stdout, stderr: this.#stderr };
      this.#wake();
      return this.#end;
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the command could not be started');
    return this.#child.pid;
  }

  get output(): string {
    return this.#stdout + this.#stderr;
  }

  /** Waits until a line of its output fits. Rejects with all of it where it ends before, or takes two minutes. */
  async says(pattern: RegExp): Promise<void> {
    const lines = (): string[] => this.output.split('\n');
    const deadline = Promise.withResolvers<void>();
    const timer = setTimeout(deadline.resolve, DEADLINE_MS);
    let late = false;
    void deadline.promise.then(() => {
      late = true;
      this.#wake();
    });
    try {
      while (!lines().some((line) => pattern.test(line))) {
        if (late || this.#end !== undefined) {
          throw new Error(`waited in vain for ${pattern} in the output:\n${this.output}`);
        }
        const woken = Promise.withResolvers<void>();
        this.#waiting.add(woken.resolve);
        await woken.promise;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** As Ctrl-C in its terminal does: the signal goes to the whole group. */
  interrupt(): void {
    process.kill(-this.pid, 'SIGINT');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** As when its terminal is closed: nobody reads any more. */
  closeOutput(): void {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  /** For the end of a test that failed. */
  async kill(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

/** Runs a command to its end. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const command = new Command(args, env);
  const timer = setTimeout(() => command.signal('SIGKILL'), DEADLINE_MS);
  try {
    return await command.ended;
  } finally {
    clearTimeout(timer);
  }
}
