import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { syncDirectory, temporaryName } from '../../node-daemon/durable-file.ts';
import { writeFileAtomic } from './files.ts';
import { goPlatform, KUBERNETES_VERSION, PROGRAMS, type Program } from './version.ts';

const Manifest = z.object({
  version: z.literal(1),
  kubernetes: z.string(),
  source: z.enum(['download', 'build']),
  files: z.record(
    z.enum(PROGRAMS),
    z.object({
      sha256: z.string(),
      /** The file as it was when its hash was last computed: inode, size and change time. */
      seen: z.string(),
    }),
  ),
});
type Manifest = z.infer<typeof Manifest>;

/** What the cache says of its programs. */
export type CacheState =
  | { readonly state: 'good'; readonly paths: Record<Program, string> }
  | { readonly state: 'absent' }
  | { readonly state: 'corrupt'; readonly why: string };

/** Directory of everything that shoes-vz keeps to save time; safe to delete. */
export function cacheDirectory(env: NodeJS.ProcessEnv): string {
  if (env.SHOESVZ_CACHE_DIR) return env.SHOESVZ_CACHE_DIR;
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'shoes-vz');
}

/** Directory of the programs of this version and platform. */
export function programsDirectory(env: NodeJS.ProcessEnv): string {
  const { os, arch } = goPlatform();
  return join(cacheDirectory(env), 'control-plane', `${KUBERNETES_VERSION}-${os}-${arch}`);
}

const manifestPath = (directory: string): string => join(directory, 'manifest.json');

/**
 * Looks whether the cached programs are whole. Costs milliseconds while the files are those that were last
 * hashed: writing to a file always moves its change time, so a changed file is hashed anew.
 */
export async function inspectCache(directory: string): Promise<CacheState> {
  const text = await readFile(manifestPath(directory), 'utf8').catch(() => undefined);
  if (text === undefined) return { state: 'absent' };
  const manifest = parseManifest(text);
  if (manifest === undefined) return { state: 'corrupt', why: 'manifest.json cannot be read' };
  let rehashed = false;
  for (const program of PROGRAMS) {
    const path = join(directory, program);
    const seen = await fingerprint(path);
    if (seen === undefined) return { state: 'corrupt', why: `${program} is missing` };
    if (seen === manifest.files[program].seen) continue;
    if ((await sha256(path)) !== manifest.files[program].sha256) {
      return { state: 'corrupt', why: `${program} is not the file that was put there (sha256 differs)` };
    }
    manifest.files[program].seen = seen;
    rehashed = true;
  }
  // Only saves time the next time: a cache on a read-only filesystem is a good one too.
  if (rehashed) await writeManifest(directory, manifest).catch(() => undefined);
  return { state: 'good', paths: programPaths(directory) };
}

/** Absolute path of each program in a directory. */
export function programPaths(directory: string): Record<Program, string> {
  return {
    etcd: join(directory, 'etcd'),
    'kube-apiserver': join(directory, 'kube-apiserver'),
    kubectl: join(directory, 'kubectl'),
  };
}

/**
 * Fills a directory through `produce` and puts it in the place of `directory` in one step; what is half-done
 * is removed. The caller holds the cache's lock.
 */
export async function installPrograms(
  directory: string,
  source: Manifest['source'],
  produce: (into: string) => Promise<{ readonly kubernetes: string }>,
): Promise<void> {
  const staging = temporaryName(directory);
  try {
    await mkdir(staging, { recursive: true });
    const { kubernetes } = await produce(staging);
    await keepOnlyPrograms(staging);
    const entries = await Promise.all(PROGRAMS.map((program) => manifestEntry(staging, program)));
    const [etcd, apiserver, kubectl] = entries;
    if (etcd === undefined || apiserver === undefined || kubectl === undefined)
      throw new Error('unreachable');
    const files = { etcd, 'kube-apiserver': apiserver, kubectl };
    await writeManifest(staging, { version: 1, kubernetes, source, files });
    await rm(directory, { recursive: true, force: true });
    await rename(staging, directory);
    await syncDirectory(dirname(directory));
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Removes what a killed process left half-done beside `directory`. The caller holds the cache's lock. */
export async function removeLeftovers(directory: string): Promise<void> {
  const parent = dirname(directory);
  for (const entry of await readdir(parent)) {
    if (entry.startsWith(`${basename(directory)}.`) && entry.endsWith('.tmp')) {
      await rm(join(parent, entry), { recursive: true, force: true });
    }
  }
}

async function keepOnlyPrograms(directory: string): Promise<void> {
  const wanted: readonly string[] = PROGRAMS;
  for (const entry of await readdir(directory)) {
    if (!wanted.includes(entry)) await rm(join(directory, entry), { recursive: true, force: true });
  }
}

async function manifestEntry(directory: string, program: Program) {
  const path = join(directory, program);
  await chmod(path, 0o755);
  const hash = await sha256(path);
  return { sha256: hash, seen: (await fingerprint(path)) ?? '' };
}

const writeManifest = (directory: string, manifest: Manifest): Promise<void> =>
  writeFileAtomic(manifestPath(directory), `${JSON.stringify(manifest, undefined, 2)}\n`, 0o644);

function parseManifest(text: string): Manifest | undefined {
  try {
    return Manifest.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function fingerprint(path: string): Promise<string | undefined> {
  const file = await stat(path, { bigint: true }).catch(() => undefined);
  return file?.isFile() === true ? `${file.ino}:${file.size}:${file.ctimeNs}` : undefined;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
