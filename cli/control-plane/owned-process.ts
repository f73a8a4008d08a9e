import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { RotatingLog } from './rotating-log.ts';

/** How a child ended. */
export interface ProcessExit {
  readonly name: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Last lines that it wrote. */
  readonly tail: string;
}

export interface OwnedProcessOptions {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly logFile: string;
}

/**
 * A child that does not outlive this process: the kernel kills it with its parent where it can (setpriv,
 * Linux), our exit handler does elsewhere, and its output ends at a pipe of ours, so that the orphan of a
 * killed parent dies of its next line at the latest. It leads a session of its own: Ctrl-C in the terminal
 * reaches only us, who stop the children in order.
 */
export class OwnedProcess {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #log: RotatingLog;

  private constructor(name: string, pid: number, child: ChildProcess, log: RotatingLog) {
    this.name = name;
    this.pid = pid;
    this.#child = child;
    this.#log = log;
    const killWithUs = (): void => {
      child.kill('SIGKILL');
    };
    process.once('exit', killWithUs);
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        process.removeListener('exit', killWithUs);
        log.close();
        resolve({ name, code, signal, tail: log.tail });
      });
    });
  }

  /** Rejects where the program cannot be started. */
  static async start(options: OwnedProcessOptions): Promise<OwnedProcess> {
    const [file = options.file, ...args] = dyingWithParent([options.file, ...options.args]);
    const child = spawn(file, args, {
      cwd: options.cwd,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { pid } = child;
    if (pid === undefined) {
      await new Promise((_, reject) => child.once('error', reject));
      throw new Error('unreachable');
    }
    child.on('error', () => undefined);
    const log = new RotatingLog(options.logFile);
    log.follow(child.stdout);
    log.follow(child.stderr);
    return new OwnedProcess(options.name, pid, child, log);
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The end of its output so far. */
  get tail(): string {
    return this.#log.tail;
  }

  /** Asks it to end, kills it after the grace time, and returns when it is gone. */
  async stop(graceMs: number): Promise<ProcessExit> {
    this.#child.kill(graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }
}

const SETPRIV = '/usr/bin/setpriv';

/** setpriv replaces itself by the program, so that the pid is the program's own. */
function dyingWithParent(command: readonly string[]): readonly string[] {
  const possible = process.platform === 'linux' && existsSync(SETPRIV);
  return possible ? [SETPRIV, '--pdeathsig', 'KILL', '--', ...command] : command;
}
