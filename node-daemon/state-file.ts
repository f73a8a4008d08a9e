import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasFailed, isOver } from '../crds/attempts.ts';
import type { Runner } from '../crds/runner.ts';
import type { Clock, Timer } from '../kube/clock.ts';
import type { Logger } from '../kube/log.ts';

/** `runner-state.json`: what tools on the host read instead of the API server (seed 001). */
export interface RunnerState {
  readonly version: 1;
  readonly host: string;
  readonly runners: readonly {
    readonly uid: string;
    readonly namespace: string;
    readonly name: string;
    readonly attempt: number;
    readonly phase: string;
    readonly ip?: string | undefined;
    readonly ssh?: { readonly host: string; readonly port: number; readonly user: string } | undefined;
    readonly startedAt?: string | undefined;
  }[];
}

/** Runners that are over or not yet taken up take no part. Sorted, so that equal states are equal texts. */
export function runnerState(host: string, runners: readonly Runner[]): RunnerState {
  const live = runners.filter((runner) => isTakenUp(runner) && !isOver(runner) && !hasFailed(runner));
  const entries = live.map(({ metadata, status }) => ({
    uid: metadata.uid ?? '',
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    attempt: status?.attempt ?? 0,
    phase: status?.phase ?? 'Pending',
    ip: status?.ipAddress,
    ssh: status?.ssh && { host: status.ssh.host, port: status.ssh.port, user: status.ssh.user },
    startedAt: status?.startedAt,
  }));
  return { version: 1, host, runners: entries.toSorted((a, b) => a.uid.localeCompare(b.uid)) };
}

const isTakenUp = ({ spec, status }: Runner): boolean =>
  status?.attempt !== undefined && status.attempt === spec.binding?.attempt;

/** A burst of changes is one write. */
const SETTLE_MS = 50;

/**
 * Keeps the file current: replaced atomically, and only when it would differ. A file that cannot be written
 * is told once and tried again at the next change; nothing else depends on it.
 */
export class StateFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #state: () => RunnerState;
  #written: string | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { path: string; clock: Clock; log: Logger; state: () => RunnerState }) {
    this.#path = options.path;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#state = options.state;
  }

  changed(): void {
    this.#timer ??= this.#clock.setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#writing.then(() => this.#write());
    }, SETTLE_MS);
  }

  /** Writes what is pending. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#writing;
    await this.#write();
  }

  async #write(): Promise<void> {
    const text = `${JSON.stringify(this.#state(), null, 2)}\n`;
    if (text === this.#written) return;
    // A fixed name: daemons that are killed here leave one such file, which the next write takes over.
    const temporary = `${this.#path}.tmp`;
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o755 });
      const file = await open(temporary, 'w', 0o644);
      try {
        await file.writeFile(text);
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
      this.#written = text;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      this.#log.warn({ err: error, path: this.#path }, 'cannot write the runner state file');
    }
  }
}
