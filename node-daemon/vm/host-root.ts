import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, readdir, realpath, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { MAX_BUNDLE_NAME, runnersDir, templatesDir } from './bundle.ts';

export type HostRootCheck =
  /** `root` has no links in it any more: use this one from now on. */
  | { readonly ok: true; readonly root: string }
  /** One line that names the directory, what is wrong and what would be right. */
  | { readonly ok: false; readonly problem: string };

/** `sun_path` of macOS has 104 bytes, the last one 0; Linux has 4 more. */
const MAX_SOCKET_PATH = 103;
const SOCKET_SUFFIX = `/${'x'.repeat(MAX_BUNDLE_NAME)}/control.sock`;
/** An empty root is not begun with on less than this. One with VMs must be served however full it is. */
const MIN_FREE_BYTES = 2 ** 30;
const WRITE_PROBE_BYTES = 4096;

/**
 * Makes the root and its directories where they are missing, and says whether VMs can be kept there. What it
 * made is gone again where it says no. Never rejects.
 */
export async function checkHostRoot(
  path: string,
  freeBytes: (dir: string) => Promise<number> = freeOf,
): Promise<HostRootCheck> {
  const malformed = malformedPath(path);
  if (malformed !== undefined) return { ok: false, problem: malformed };
  const made: string[] = [];
  const check = await tryRoot(path, made, freeBytes).catch(
    (error: unknown): HostRootCheck => ({ ok: false, problem: explain(path, error) }),
  );
  if (!check.ok) for (const dir of made.reverse()) await rmdir(dir).catch(() => {});
  return check;
}

async function tryRoot(
  path: string,
  made: string[],
  freeBytes: (dir: string) => Promise<number>,
): Promise<HostRootCheck> {
  await makeDirectory(path, 0o755, made);
  const root = await realpath(path);
  const tooLong = tooLongPath(root);
  if (tooLong !== undefined) return { ok: false, problem: tooLong };
  await makeDirectory(templatesDir(root), 0o755, made);
  await makeDirectory(runnersDir(root), 0o700, made);
  await access(templatesDir(root), constants.R_OK | constants.X_OK);
  await probeWriting(runnersDir(root));
  const free = await freeBytes(root);
  const fresh = (await readdir(runnersDir(root))).length === 0;
  if (!fresh || free >= MIN_FREE_BYTES) return { ok: true, root };
  const mib = Math.floor(free / 2 ** 20);
  return { ok: false, problem: `host root ${root} has ${mib} MiB free; VMs need 1024 MiB or more` };
}

/** Not fs.mkdir's own recursion: that never ends where a filesystem answers ENOENT to any mkdir, as /proc does. */
async function makeDirectory(path: string, mode: number, made: string[]): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeDirectory(dirname(path), 0o755, made);
    await mkdir(path, { mode });
  }
  made.push(path);
}

function malformedPath(path: string): string | undefined {
  if (!isAbsolute(path)) return `host root ${JSON.stringify(path)} must be an absolute path`;
  const control = [...path].some((character) => character < ' ' || character === '\x7f');
  if (control) return `host root ${JSON.stringify(path)} must have no control characters`;
  return tooLongPath(path);
}

function tooLongPath(root: string): string | undefined {
  const bytes = Buffer.byteLength(runnersDir(root));
  const most = MAX_SOCKET_PATH - Buffer.byteLength(SOCKET_SUFFIX);
  if (bytes <= most) return undefined;
  const limit = most - '/runners'.length;
  return `host root ${root} has ${Buffer.byteLength(root)} bytes; it must have ${limit} or fewer, or the paths of VM sockets exceed ${MAX_SOCKET_PATH} bytes`;
}

async function probeWriting(dir: string): Promise<void> {
  const probe = join(dir, `.write-probe.${randomBytes(6).toString('hex')}`);
  try {
    await writeFile(probe, Buffer.alloc(WRITE_PROBE_BYTES, 1), { mode: 0o600, flush: true });
  } finally {
    await rm(probe, { force: true });
  }
}

async function freeOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

function explain(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `host root ${path} must be writable for the user that runs the node daemon (${code})`;
    case 'ENOTDIR':
    case 'EEXIST':
      return `host root ${path} must be a directory (${code})`;
    case 'ENOSPC':
    case 'EDQUOT':
      return `host root ${path} has no room left (${code})`;
    default:
      return `host root ${path} cannot be used: ${error instanceof Error ? error.message : String(error)}`;
  }
}
