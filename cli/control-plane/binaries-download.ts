import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { copyFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parse } from 'yaml';
import { z } from 'zod';
import { run } from './child.ts';
import { oneLine } from './error.ts';
import { goPlatform, KUBERNETES_VERSION, PROGRAMS } from './version.ts';

/** Index of the archives that Kubernetes' own test tools use: archive → sha512 and address. */
const INDEX_URL =
  'https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml';
const INDEX_TIMEOUT_MS = 5_000;
const INDEX_MAX_BYTES = 4 << 20;
/** A download that brings nothing for so long is given up. */
const STALL_TIMEOUT_MS = 30_000;
const ARCHIVE_MAX_BYTES = 1 << 30;
const PROGRESS_EVERY_MS = 3_000;

const Index = z.object({
  releases: z.record(z.string(), z.record(z.string(), z.object({ hash: z.string(), selfLink: z.url() }))),
});

/** One archive of the index. */
export interface Archive {
  readonly kubernetes: string;
  readonly url: string;
  /** Hex. */
  readonly sha512: string;
}

/**
 * The archive for this platform: of the pinned version, or else of the newest patch of its minor version,
 * as not every patch is released. Undefined where the index has none.
 */
export function chooseArchive(
  indexText: string,
  platform: { readonly os: string; readonly arch: string },
): Archive | undefined {
  const index = Index.parse(parse(indexText));
  const minor = KUBERNETES_VERSION.replace(/\.\d+$/, '');
  const patch = (version: string): number =>
    version === KUBERNETES_VERSION ? Number.POSITIVE_INFINITY : Number(version.slice(minor.length + 1));
  const candidates = Object.keys(index.releases)
    .filter((version) => version.startsWith(`${minor}.`) && !Number.isNaN(patch(version)))
    .sort((a, b) => patch(b) - patch(a));
  for (const version of candidates) {
    const entry = index.releases[version]?.[`envtest-${version}-${platform.os}-${platform.arch}.tar.gz`];
    if (entry !== undefined) return { kubernetes: version, url: entry.selfLink, sha512: entry.hash };
  }
  return undefined;
}

/** Asks the index, or its mirror named by SHOESVZ_ENVTEST_INDEX. Gives up after 5 s: building serves too. */
export async function findArchive(env: NodeJS.ProcessEnv): Promise<Archive | { readonly unusable: string }> {
  const url = env.SHOESVZ_ENVTEST_INDEX || INDEX_URL;
  const response = await fetch(url, { signal: AbortSignal.timeout(INDEX_TIMEOUT_MS) }).catch(
    (error: unknown) => {
      throw new Error(`${url} cannot be reached (${oneLine(error)})`);
    },
  );
  if (!response.ok || response.body === null) return { unusable: `${url} answers ${response.status}` };
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > INDEX_MAX_BYTES) return { unusable: `${url} is no index: larger than 4 MiB` };
  }
  const { os, arch } = goPlatform();
  const archive = chooseArchive(text, { os, arch });
  return archive ?? { unusable: `the index has no archive of ${KUBERNETES_VERSION} for ${os}/${arch}` };
}

/** Downloads an archive, checks its hash and unpacks the programs into a directory. */
export async function downloadPrograms(
  archive: Archive,
  into: string,
  progress: (line: string) => void,
): Promise<{ readonly kubernetes: string }> {
  const file = join(into, 'archive.tar.gz');
  const sha512 = await download(archive.url, file, progress);
  if (sha512 !== archive.sha512)
    throw new Error(`${archive.url} does not have the sha512 that its index names`);
  const unpacked = await run('tar', ['-xzf', file, '-C', into], { timeoutMs: 120_000 });
  if (unpacked.code !== 0) throw new Error(`${archive.url} cannot be unpacked: ${unpacked.stderr.trim()}`);
  await rm(file);
  const entries = await readdir(into, { recursive: true, withFileTypes: true });
  for (const program of PROGRAMS) {
    const found = entries.find((entry) => entry.isFile() && entry.name === program);
    if (found === undefined) throw new Error(`${archive.url} holds no ${program}`);
    const path = join(found.parentPath, found.name);
    if (path !== join(into, program)) await copyFile(path, join(into, program));
  }
  return { kubernetes: archive.kubernetes };
}

async function download(url: string, file: string, progress: (line: string) => void): Promise<string> {
  const abort = new AbortController();
  const onStall = (): void =>
    abort.abort(new Error(`${url} brought nothing for ${STALL_TIMEOUT_MS / 1000} s`));
  let stall = setTimeout(onStall, STALL_TIMEOUT_MS);
  let bytes = 0;
  const megabytes = (): string => `${(bytes / 1e6).toFixed(0)} MB`;
  progress(`downloading ${url}`);
  const ticker = setInterval(() => progress(`downloading ${url}: ${megabytes()}`), PROGRESS_EVERY_MS);
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok || response.body === null) throw new Error(`${url} answers ${response.status}`);
    const hash = createHash('sha512');
    await pipeline(
      Readable.fromWeb(response.body),
      async function* count(source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          clearTimeout(stall);
          stall = setTimeout(onStall, STALL_TIMEOUT_MS);
          bytes += chunk.byteLength;
          if (bytes > ARCHIVE_MAX_BYTES) throw new Error(`${url} is larger than 1 GiB`);
          hash.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(file, { flags: 'wx' }),
      { signal: abort.signal },
    );
    progress(`downloaded ${url}: ${megabytes()}`);
    return hash.digest('hex');
  } finally {
    clearTimeout(stall);
    clearInterval(ticker);
  }
}
