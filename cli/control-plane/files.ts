import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Readable by its owner only: keys, certificates of keys, kubeconfigs. */
export const PRIVATE_FILE = 0o600;
/** Enterable by its owner only. */
export const PRIVATE_DIR = 0o700;

/** A name beside `path` that no other process uses. */
export const temporaryName = (path: string): string =>
  `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;

/**
 * Replaces a file in one step: a reader sees the old content or the new, never a part, and after a crash one
 * of both is there whole. The new file has `mode` from its first byte on.
 */
export async function writeFileAtomic(path: string, content: string, mode = PRIVATE_FILE): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes renames in a directory survive a loss of power. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Creates a directory that only its owner may enter, with its parents. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: PRIVATE_DIR });
}
