import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What a directory's files look like from outside, without reading them. */
export interface Fingerprint {
  /** Changes with the name, size, inode, mtime or ctime of any entry. */
  readonly value: string;
  /** When any entry was last changed, by the filesystem's clock; epoch milliseconds. */
  readonly changedAt: number;
}

/**
 * Fingerprint of a bundle directory; undefined where there is no such directory. The ctime is in it because
 * the kernel sets it on every change and nobody can set it back: equal fingerprints mean equal content, as
 * far as the filesystem can tell. The device number is not: some filesystems change it at every mount.
 */
export async function fingerprintOf(dir: string): Promise<Fingerprint | undefined> {
  const names = await readdir(dir).catch(absent);
  if (names === undefined) return undefined;
  const hash = createHash('sha256');
  let newest = 0n;
  for (const name of names.sort()) {
    const entry: BigIntStats | undefined = await stat(join(dir, name), { bigint: true }).catch(absent);
    if (entry === undefined) {
      hash.update(`${name} gone\n`);
      continue;
    }
    hash.update(`${name} ${entry.ino} ${entry.size} ${entry.mtimeNs} ${entry.ctimeNs}\n`);
    if (entry.ctimeNs > newest) newest = entry.ctimeNs;
  }
  return { value: hash.digest('hex'), changedAt: Number(newest / 1_000_000n) };
}

function absent(error: unknown): undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw error;
}
