import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BenchContext } from '../harness/run.ts';

const execute = promisify(execFile);
const run = (file: string, ...args: string[]) => execute(file, args, { timeout: 60_000 });

export type Xfs = { readonly dir: string } | { readonly skipped: string };

/** An XFS with reflinks in a sparse file, mounted on a loop device; all of it is gone at the end. */
export async function mountXfs(
  { onEnd }: BenchContext,
  { bytes, roomBytes }: { readonly bytes: number; readonly roomBytes: number },
): Promise<Xfs> {
  if (process.platform !== 'linux') return { skipped: 'XFS and loop devices are Linux' };
  if (process.getuid?.() !== 0) return { skipped: 'mounting needs root' };
  const { bavail, bsize } = await statfs(tmpdir());
  if (bavail * bsize < roomBytes) {
    return { skipped: `${Math.round(roomBytes / 1e9)} GB are needed in ${tmpdir()}` };
  }
  const base = await mkdtemp(join(tmpdir(), 'svz-'));
  onEnd(() => rm(base, { recursive: true, force: true }));
  const [image, dir] = [join(base, 'xfs.img'), join(base, 'mnt')];
  await writeFile(image, '');
  await truncate(image, bytes);
  await mkdir(dir);
  try {
    await run('mkfs.xfs', '-q', '-m', 'reflink=1', image);
    await run('mount', '-o', 'loop,discard', image, dir);
  } catch (error) {
    return {
      skipped: `an XFS cannot be made and mounted: ${error instanceof Error ? error.message.trim() : error}`,
    };
  }
  onEnd(() => run('umount', dir));
  return { dir };
}

/** How many extents the file's data lies in. */
export async function countExtents(file: string): Promise<number> {
  const { stdout } = await execute('xfs_io', ['-r', '-c', 'stat', file], { timeout: 60_000 });
  const count = /fsxattr\.nextents = ([0-9]+)/.exec(stdout)?.[1];
  if (count === undefined) throw new Error(`xfs_io does not tell the extents of ${file}`);
  return Number(count);
}

/** Makes a file of another's chunks in reverse order, sharing them: each is an extent of its own then. */
export async function reverseChunks(
  from: string,
  to: string,
  chunks: number,
  chunkBytes: number,
): Promise<void> {
  const commands = Array.from({ length: chunks }, (_, index) => [
    '-c',
    `reflink ${from} ${(chunks - 1 - index) * chunkBytes} ${index * chunkBytes} ${chunkBytes}`,
  ]);
  await execute('xfs_io', ['-f', ...commands.flat(), '-c', 'fsync', to], {
    timeout: 300_000,
    maxBuffer: 2 ** 24,
  });
}
