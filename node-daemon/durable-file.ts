import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A name beside `path` that no other process uses. */
export const temporaryName = (path: string): string =>
  `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;

/**
 * Replaces a file in one step: whoever reads it, at any time and after any crash, sees the old content or the
 * new, never a part. When this returns the new content is on disk. The new file has `mode` from its first byte
 * on. One writer at a time: the temporary file beside it has a fixed name, so that a crash leaves at most one,
 * which the next write takes over.
 */
export async function replaceFile(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w', mode);
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

/** Makes creations, renames and removals in a directory survive a crash of the machine. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** One small file that is replaced as a whole. */
export interface DurableFile {
  /** undefined: there is none. */
  read(): Promise<string | undefined>;
  /** See {@link replaceFile}. */
  replace(content: string): Promise<void>;
  remove(): Promise<void>;
}

export const durableFile = (path: string, mode: number): DurableFile => ({
  read: () =>
    readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    }),
  replace: (content) => replaceFile(path, content, mode),
  remove: () => rm(path, { force: true }),
});
