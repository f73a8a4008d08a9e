import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tryFileLock } from '../node-daemon/file-lock.ts';
import { ROOT_LOCK_FILE } from '../node-daemon/host/root-lock.ts';
import { runnersDir } from '../node-daemon/vm/bundle.ts';
import { layoutOf } from './control-plane/layout.ts';

/** A directory that a start makes where it is missing. */
export interface StartDirectory {
  readonly path: string;
  /** Whose holder uses the directory. */
  readonly lockFile: string;
  /** The host root in it: bundles in there are VMs, and stay. */
  readonly hostRoot: string;
}

export const asHostRoot = (path: string): StartDirectory => ({
  path,
  lockFile: join(path, ROOT_LOCK_FILE),
  hostRoot: path,
});

export const asDataDir = (path: string, hostRoot: string): StartDirectory => ({
  path,
  lockFile: layoutOf(path).lock,
  hostRoot,
});

/**
 * Starts something in these directories. Where that fails, those that were not there before are gone again, unless
 * another process uses them by now or a VM lies in them.
 */
export async function discardingOnFailure<T>(
  directories: readonly StartDirectory[],
  start: () => Promise<T>,
): Promise<T> {
  const fresh = directories.map((one) => ({ ...one, made: missingPart(one.path) }));
  try {
    return await start();
  } catch (error) {
    for (const { made, ...directory } of fresh.reverse()) {
      // What failed is told, not that it left something that cannot be removed.
      if (made.length > 0) await discard(directory, made).catch(() => undefined);
    }
    throw error;
  }
}

/** The path and those above it that are not there, the path first. */
export function missingPart(path: string): readonly string[] {
  return existsSync(path) || dirname(path) === path ? [] : [path, ...missingPart(dirname(path))];
}

/** Takes directories away, in order, as long as they are empty: somebody else may have put something there. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  try {
    for (const directory of directories) await rmdir(directory);
  } catch {
    // It stays, and those above it do.
  }
}

async function discard({ path, lockFile, hostRoot }: StartDirectory, made: readonly string[]): Promise<void> {
  const lock = existsSync(lockFile) ? tryFileLock(lockFile) : 'nobody has ever used it';
  if (lock === undefined) return;
  try {
    const vms = await readdir(runnersDir(hostRoot)).catch(() => []);
    if (vms.length > 0) return;
    await rm(path, { recursive: true, force: true });
  } finally {
    if (typeof lock !== 'string') lock.release();
  }
  await removeEmpty(made.slice(1));
}
