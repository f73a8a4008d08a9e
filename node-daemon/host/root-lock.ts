import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { replaceFile } from './durable-file.ts';

const LOCK_FILE = 'daemon.lock';
const PID_FILE = 'daemon.pid';
const SQLITE_BUSY = 5;

/** How long a refused starter waits for the holder, which may have started this instant, to write its pid. */
const PID_DEADLINE_MS = 1000;
const PID_RETRY_MS = 20;

/** The right to be the daemon of a host root. */
export interface RootLock {
  /** Idempotent. The next starter may take the lock as soon as this returns. */
  release(): Promise<void>;
}

/**
 * Makes this process the only daemon of a host root, or throws {@link RootLockedError}.
 *
 * The lock is the kernel's own record lock on `<root>/daemon.lock`, so it ends with the process however that
 * dies, and of two racing starters exactly one gets it. Node reaches record locks only through SQLite; the
 * file stays empty and is never removed. Children do not inherit the lock. `<root>/daemon.pid` only tells
 * people who holds it. The root must be on a filesystem with working record locks, as every local one is.
 */
export async function lockRoot(root: string): Promise<RootLock> {
  const database = takeLock(join(root, LOCK_FILE));
  if (database === undefined) throw new RootLockedError(root, await holderPid(root));
  const close = () => {
    if (database.isOpen) database.close();
  };
  // Also keeps the handle reachable: were it collected, the lock would be gone.
  process.once('exit', close);
  try {
    await replaceFile(join(root, PID_FILE), `${process.pid}\n`);
  } catch (error) {
    process.off('exit', close);
    close();
    throw error;
  }
  return {
    async release() {
      if (!database.isOpen) return;
      process.off('exit', close);
      await rm(join(root, PID_FILE), { force: true });
      close();
    },
  };
}

/** The handle that holds the lock; undefined where another one does. */
function takeLock(path: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec('PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return undefined;
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${path}: cannot be locked: ${why}`, { cause: error });
  }
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
export class RootLockedError extends Error {
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
