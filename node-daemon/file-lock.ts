import { DatabaseSync } from 'node:sqlite';
import { ExplainedError } from '../kube/explained-error.ts';

/** A lock that this process holds. The kernel lets go of it when the process dies, whatever it died of. */
export interface FileLock {
  /** Idempotent. Another process may take it as soon as this returns. */
  release(): void;
}

const SQLITE_BUSY = 5;

/**
 * Takes the lock at `path`; undefined where another process has it. Of two that race exactly one gets it.
 * Children do not inherit it.
 *
 * Node.js has no flock; an exclusive transaction on an empty SQLite database is the kernel's own record lock,
 * on Linux and macOS alike, and leaves nothing stale behind. The file stays empty and is never removed: that
 * would let two processes lock two files of one name. It must be on a filesystem with working record locks, as
 * every local one is. Throws where it cannot be locked at all.
 */
export function tryFileLock(path: string): FileLock | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec('PRAGMA journal_mode=MEMORY; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return undefined;
    const why = error instanceof Error ? error.message : String(error);
    throw new ExplainedError(`${path}: cannot be locked: ${why}`, { cause: error });
  }
  const held = database;
  const release = (): void => {
    process.off('exit', release);
    if (held.isOpen) held.close();
  };
  // Also keeps the handle reachable: were it collected, the lock would be gone.
  process.once('exit', release);
  return { release };
}
