import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ExplainedError } from '../../kube/explained-error.ts';
import { replaceFile } from '../durable-file.ts';
import { tryFileLock } from '../file-lock.ts';

/** In a host root; held by the daemon that serves it. */
export const ROOT_LOCK_FILE = 'daemon.lock';
const PID_FILE = 'daemon.pid';

/** How long a refused starter waits for the holder, which may have started this instant, to write its pid. */
const PID_DEADLINE_MS = 1000;
const PID_RETRY_MS = 20;

/** The right to be the daemon of a host root. */
export interface RootLock {
  /** Idempotent. The next starter may take the lock as soon as this returns. */
  release(): Promise<void>;
}

/**
 * Makes this process the only daemon of a host root, or throws {@link RootLockedError}. The lock ends with the
 * process however that dies; `<root>/daemon.pid` only tells people who holds it.
 */
export async function lockRoot(root: string): Promise<RootLock> {
  const lock = tryFileLock(join(root, ROOT_LOCK_FILE));
  if (lock === undefined) throw new RootLockedError(root, await holderPid(root));
  try {
    await replaceFile(join(root, PID_FILE), `${process.pid}\n`, 0o644);
  } catch (error) {
    lock.release();
    throw error;
  }
  let released = false;
  return {
    async release() {
      if (released) return;
      released = true;
      await rm(join(root, PID_FILE), { force: true });
      lock.release();
    },
  };
}

/** A dead process's pid is what an earlier holder left: the present one has not written its own yet. */
async function holderPid(root: string): Promise<number | undefined> {
  const deadline = performance.now() + PID_DEADLINE_MS;
  for (;;) {
    const pid = await readPid(join(root, PID_FILE));
    if (pid !== undefined && isAlive(pid)) return pid;
    if (performance.now() > deadline) return undefined;
    await delay(PID_RETRY_MS);
  }
}

async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number(await readFile(path, 'utf8'));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Another daemon serves this root. */
export class RootLockedError extends ExplainedError {
  /** Undefined where the holder did not tell in time. */
  readonly pid: number | undefined;
  constructor(root: string, pid: number | undefined) {
    const holder = pid === undefined ? '' : ` with pid ${pid}`;
    super(
      `${root}: another node daemon${holder} serves this host root; stop it, or give this one a root of its own`,
    );
    this.name = 'RootLockedError';
    this.pid = pid;
  }
}
