import { readFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { writeFileAtomic } from './files.ts';

/** A lock that this process holds. The kernel lets go of it when the process dies, whatever it died of. */
export interface Lock {
  release(): void;
}

const SQLITE_BUSY = 5;

/**
 * Takes the lock at `path` or says who has it. Node.js has no flock; an exclusive transaction on an empty
 * SQLite database is a kernel file lock that leaves nothing stale behind, on Linux and macOS alike. The file
 * itself stays: removing it would let two processes lock two files of one name.
 */
export async function tryLock(path: string): Promise<Lock | { readonly heldBy: number | undefined }> {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (isBusy(error)) return { heldBy: await holder(path) };
    throw error;
  }
  await writeFileAtomic(holderFile(path), `${process.pid}\n`);
  return { release: () => database.close() };
}

export interface WaitForLock {
  /** Called once, when the lock is found held. `pid` is its holder where that is known. */
  readonly onWait: (pid: number | undefined) => void;
  readonly timeoutMs: number;
}

/** Takes the lock, waiting for its holder; undefined when `timeoutMs` passed. */
export async function waitForLock(path: string, wait: WaitForLock): Promise<Lock | undefined> {
  const deadline = performance.now() + wait.timeoutMs;
  let told = false;
  while (performance.now() < deadline) {
    const result = await tryLock(path);
    if ('release' in result) return result;
    if (!told) wait.onWait(result.heldBy);
    told = true;
    // Kernel file locks give no event to those who wait for them asynchronously.
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return undefined;
}

const holderFile = (path: string): string => `${path}.pid`;

async function holder(path: string): Promise<number | undefined> {
  const text = await readFile(holderFile(path), 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}
