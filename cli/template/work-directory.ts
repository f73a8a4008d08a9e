import { chmod, mkdir, mkdtemp, readdir, rename, rm, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { TemplateBuildError } from './error.ts';
import { syncPath } from './seal.ts';

/** The unpacked tree, the kernel and the image, with room to spare. */
const ROOM_BYTES = 1.5 * 1024 ** 3;

/** Hidden, so that nobody takes it for a template; beside the target, so that a rename publishes it. */
const prefixOf = (name: string): string => `.build-${name}.`;

/** Where one build works. */
export interface WorkDirectory {
  readonly scratch: string;
  /** Becomes the template. Beside the target: a sealed directory can be renamed, but not moved into another one. */
  readonly bundle: string;
}

/** Runs `body` in directories of its own, which are gone afterwards. */
export async function withWorkDirectory<T>(
  out: string,
  name: string,
  body: (work: WorkDirectory) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(out, prefixOf(name)));
  const work = { scratch, bundle: `${scratch}.bundle` };
  try {
    await mkdir(work.bundle);
    return await body(work);
  } finally {
    await removeTree(work.bundle);
    await removeTree(work.scratch);
  }
}

/** Removes what builds left that were killed. Only for the one who holds the target's lock. */
export async function clearWorkDirectories(out: string, name: string): Promise<void> {
  for (const entry of await readdir(out)) {
    if (entry.startsWith(prefixOf(name))) await removeTree(join(out, entry));
  }
}

/**
 * Puts a sealed bundle in its place. A bundle that is there is moved aside first; who has its files open keeps them.
 */
export async function publish(bundle: string, target: string): Promise<void> {
  const old = join(dirname(target), `${prefixOf(basename(target))}old`);
  await rename(target, old).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  });
  await rename(bundle, target);
  await syncPath(dirname(target));
  await removeTree(old);
}

export async function requireRoom(dir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free >= ROOM_BYTES) return;
  const gib = (bytes: number): string => (bytes / 1024 ** 3).toFixed(1);
  throw new TemplateBuildError(
    `${dir} has ${gib(free)} GiB free; building a template needs ${gib(ROOM_BYTES)} GiB`,
  );
}

/** A sealed directory must be made writable before its entries can go. */
async function removeTree(path: string): Promise<void> {
  await chmod(path, 0o700).catch(() => undefined);
  await rm(path, { recursive: true, force: true, maxRetries: 5 });
}
