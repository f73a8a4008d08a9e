import { readFile } from 'node:fs/promises';
import { type FileLock, tryFileLock } from '../../node-daemon/file-lock.ts';
import { writeFileAtomic } from './files.ts';

/** Takes the lock at `path` or says who has it. The file stays when it is released. */
export async function tryLock(path: string): Promise<FileLock | { readonly heldBy: number | undefined }> {
  const lock = tryFileLock(path);
  if (lock === undefined) return { heldBy: await holder(path) };
  await writeFileAtomic(holderFile(path), `${process.pid}\n`);
  return lock;
}

export interface WaitForLock {
  /** Called once, when the lock is found held. `pid` is its holder where that is known. */
  readonly onWait: (pid: number | undefined) => void;
  readonly timeoutMs: number;
}

/** Takes the lock, waiting for its holder; undefined when `timeoutMs` passed. */
export async function waitForLock(path: string, wait: WaitForLock): Promise<FileLock | undefined> {
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
