import { createHash } from 'node:crypto';
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { z } from 'zod';

/**
 * Digests that were computed before, by what stat says of the file. A file that changed has another ctime, which
 * no program can set, so a hit means that the bytes are those that were hashed.
 */
export interface DigestCache {
  get(path: string, fingerprint: string): string | undefined;
  /** Returns when the digest is kept. Rejects never: a cache that cannot be written only costs time later. */
  set(path: string, fingerprint: string, digest: string): Promise<void>;
}

/** Name of the cache of a host's templates, in its host root. */
export const DIGEST_CACHE_FILE = 'template-digests.json';

/** Digests of the paths looked at last are kept; a host holds far fewer files of templates. */
const MAX_ENTRIES = 4096;
const BUFFER_BYTES = 1 << 20;

const CacheFile = z.object({
  version: z.literal(1),
  files: z.record(z.string(), z.object({ fingerprint: z.string(), digest: z.string() })),
});
type Entries = Map<string, { readonly fingerprint: string; readonly digest: string }>;

/** A cache kept in a JSON file outside of the templates. A file that is missing or damaged is an empty cache. */
export async function openDigestCache(file: string): Promise<DigestCache> {
  const entries = await load(file);
  let writing = Promise.resolve();
  return {
    get: (path, fingerprint) => {
      const entry = entries.get(path);
      return entry?.fingerprint === fingerprint ? entry.digest : undefined;
    },
    set: (path, fingerprint, digest) => {
      entries.delete(path);
      entries.set(path, { fingerprint, digest });
      for (const oldest of entries.keys()) {
        if (entries.size <= MAX_ENTRIES) break;
        entries.delete(oldest);
      }
      writing = writing.then(() => save(file, entries).catch(() => undefined));
      return writing;
    },
  };
}

/** Remembers nothing beyond the process. */
export function memoryDigestCache(): DigestCache {
  const entries: Entries = new Map();
  return {
    get: (path, fingerprint) => {
      const entry = entries.get(path);
      return entry?.fingerprint === fingerprint ? entry.digest : undefined;
    },
    set: async (path, fingerprint, digest) => {
      entries.set(path, { fingerprint, digest });
    },
  };
}

/** `sha256:…` of a file's bytes, read only where the cache does not know them. Rejects as fs does. */
export async function digestFile(path: string, cache: DigestCache, signal: AbortSignal): Promise<string> {
  const before = await fingerprint(path);
  const known = cache.get(path, before);
  if (known !== undefined) return known;
  const digest = `sha256:${await sha256(path, signal)}`;
  if ((await fingerprint(path)) === before) await cache.set(path, before, digest);
  return digest;
}

/** Through one buffer: a stream would leave a new one behind for each piece of a disk. */
async function sha256(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  const file = await open(path, 'r');
  try {
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

async function fingerprint(path: string): Promise<string> {
  const { size, mtimeNs, ctimeNs, ino, dev } = await stat(path, { bigint: true });
  return [size, mtimeNs, ctimeNs, ino, dev].join(':');
}

async function load(file: string): Promise<Entries> {
  try {
    return new Map(Object.entries(CacheFile.parse(JSON.parse(await readFile(file, 'utf8'))).files));
  } catch {
    return new Map();
  }
}

async function save(file: string, entries: Entries): Promise<void> {
  // A fixed name: what a process that was killed had half written is taken over.
  const temporary = `${file}.tmp`;
  const content = { version: 1, files: Object.fromEntries(entries) } satisfies z.infer<typeof CacheFile>;
  await writeFile(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600 });
  await rename(temporary, file);
}
