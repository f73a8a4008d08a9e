import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const READY_DEADLINE_MS = 60_000;

export interface DaemonOptions {
  readonly kubeconfig: string;
  readonly hostRoot: string;
  readonly hostName: string;
  readonly maxRunners?: number | undefined;
}

/** A node daemon in a process of its own, so that it can be killed. */
export class DaemonProcess {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'exit');
  }

  /** Resolves when the daemon says that it is ready; rejects with its output where it ends before. */
  static async start(options: DaemonOptions): Promise<DaemonProcess> {
    const flags = [
      ['--kubeconfig', options.kubeconfig],
      ['--host-root', options.hostRoot],
      ['--host-name', options.hostName],
      ['--state-file', join(options.hostRoot, 'runner-state.json')],
      ['--guest-link-port', '0'],
      ['--metrics-port', '0'],
      ...(options.maxRunners === undefined ? [] : [['--max-runners', String(options.maxRunners)]]),
    ].flat();
    const child = spawn(process.execPath, [MAIN, 'node-daemon', ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new DaemonProcess(child);
    const ready = Promise.withResolvers<void>();
    createInterface({ input: child.stderr }).on('line', (line) => {
      daemon.#lines.push(line);
      if (line.includes('"msg":"ready"')) ready.resolve();
    });
    const timer = setTimeout(
      () => ready.reject(new Error(`the daemon is not ready:\n${daemon.output}`)),
      READY_DEADLINE_MS,
    );
    void daemon.#exited.then(() => ready.reject(new Error(`the daemon ended:\n${daemon.output}`)));
    try {
      await ready.promise;
    } finally {
      clearTimeout(timer);
    }
    return daemon;
  }

  get output(): string {
    return this.#lines.join('\n');
  }

  /** Ends it without a chance to do anything. */
  async kill9(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }
}
