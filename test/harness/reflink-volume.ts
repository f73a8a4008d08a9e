import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A filesystem that clones files, on a loop device, sparse; undefined, with the reason, where there can be none. */
export async function mountReflinkVolume(
  size = '6G',
): Promise<
  { readonly dir: string; unmount(): Promise<void> } | { readonly dir: undefined; readonly why: string }
> {
  if (process.getuid?.() !== 0) return { dir: undefined, why: 'mounting needs root' };
  const parent = await mkdtemp(join(tmpdir(), 'sx-'));
  const [image, dir] = [join(parent, 'i'), join(parent, 'm')];
  try {
    await mkdir(dir);
    await run('truncate', ['-s', size, image]);
    await run('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
    await run('mount', ['-o', 'loop', image, dir]);
  } catch (error) {
    await rm(parent, { recursive: true, force: true });
    return { dir: undefined, why: error instanceof Error ? (error.message.split('\n')[0] ?? '') : '' };
  }
  return {
    dir,
    unmount: async () => {
      await run('umount', [dir]);
      await rm(parent, { recursive: true, force: true });
    },
  };
}
