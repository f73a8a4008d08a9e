import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, copyFile, rename, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type BundlePaths, VmError } from '../driver.ts';
import { QEMU_IMG } from './installation.ts';

const run = promisify(execFile);

const QEMU_IMG_LIMIT_MS = 30_000;
const GIB = 2 ** 30;

/** The filesystem, or the pair of them, cannot clone; anything else is a failure. */
const CANNOT_CLONE = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'ENOTTY', 'ENOSYS', 'EINVAL']);

/**
 * Gives the bundle a disk of the wanted size (never smaller than the template's): a copy-on-write clone where
 * the filesystem can, else a qcow2 overlay upon the template's disk. A disk that is there already is whole and
 * stays. Costs no data copied either way.
 */
export async function cloneDisk(
  bundle: BundlePaths,
  templateDisk: string,
  diskBytes: number,
  signal: AbortSignal,
): Promise<'raw' | 'qcow2'> {
  if (await exists(bundle.disk)) return 'raw';
  if (await exists(bundle.diskOverlay)) return 'qcow2';
  const wanted = Math.max(diskBytes, (await stat(templateDisk)).size);
  await requireRoom(bundle.dir, wanted);
  signal.throwIfAborted();
  if (await reflink(templateDisk, bundle.disk, wanted)) return 'raw';
  await overlay(templateDisk, bundle.diskOverlay, wanted, signal);
  return 'qcow2';
}

/** A guest may fill all of its disk: that much has to be free. Throws NoRoom. */
async function requireRoom(dir: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free >= bytes) return;
  const [needed, there] = [bytes, free].map((size) => `${(size / GIB).toFixed(1)} GiB`);
  throw new VmError(
    'NoRoom',
    `the disk may grow to ${needed}, but only ${there} are free at ${dirname(dir)}`,
  );
}

/** False where the filesystem cannot. The clone appears under its name when it has its full size. */
async function reflink(source: string, target: string, bytes: number): Promise<boolean> {
  const temporary = `${target}.tmp`;
  await rm(temporary, { force: true });
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE_FORCE);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (CANNOT_CLONE.has(code)) return false;
    throw error;
  }
  await chmod(temporary, 0o600);
  await truncate(temporary, bytes);
  await rename(temporary, target);
  return true;
}

async function overlay(source: string, target: string, bytes: number, signal: AbortSignal): Promise<void> {
  const temporary = `${target}.tmp`;
  await rm(temporary, { force: true });
  const argv = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', source, temporary, String(bytes)];
  try {
    await run(QEMU_IMG, argv, { timeout: QEMU_IMG_LIMIT_MS, signal, maxBuffer: 65_536 });
  } catch (error) {
    signal.throwIfAborted();
    throw new VmError('CloneFailed', `qemu-img could not make an overlay of ${source}: ${lastLine(error)}`, {
      cause: error,
    });
  }
  await chmod(temporary, 0o600);
  await rename(temporary, target);
}

function lastLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim() : '';
  return stderr.split('\n').at(-1) || error.message;
}

/** Whether files are cloned from one directory to the other: by doing it. */
export async function probeReflink(from: string, to: string): Promise<boolean> {
  const name = `.reflink-probe.${randomBytes(6).toString('hex')}`;
  const [source, target] = [join(from, name), join(to, `${name}.clone`)];
  try {
    await writeFile(source, 'probe', { mode: 0o600 });
    await copyFile(source, target, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (CANNOT_CLONE.has(code)) return false;
    throw error;
  } finally {
    await Promise.all([rm(source, { force: true }), rm(target, { force: true })]);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
