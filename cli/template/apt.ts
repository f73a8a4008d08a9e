import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { MissingProgramError, TemplateBuildError } from './error.ts';
import { run } from './run.ts';

/** A package file in the cache, whose bytes apt's index vouches for. */
export interface PackageFile {
  readonly name: string;
  readonly path: string;
}

export interface AptOptions {
  /** Kept between builds. */
  readonly cacheDir: string;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** A package as apt's index describes it. */
export interface IndexedPackage {
  readonly name: string;
  readonly version: string;
  readonly file: string;
  readonly size: number;
  readonly sha256: string;
}

const QUERY_MS = 120_000;
const DOWNLOAD_MS = 1_800_000;
/** Packages per download: a step of the progress that is told. */
const BATCH = 24;
const UNUSED_AFTER_MS = 30 * 24 * 3_600_000;

/**
 * Fetches `names` with all that they depend on, and the newest kernel that `kernelPackage` depends on without
 * what *it* depends on (which would build an initrd of its own). Nothing is asked of the network while the cache
 * has what the machine's package lists name. Where those lists are missing or older than the mirror, lists of our
 * own are fetched into the cache; the machine's state is never written to.
 */
export async function fetchPackages(
  names: readonly string[],
  kernelPackage: string,
  options: AptOptions,
): Promise<{ readonly packages: readonly PackageFile[]; readonly kernel: PackageFile }> {
  const ours = join(options.cacheDir, 'apt-lists');
  const fetchWith = async (lists: string | undefined) => {
    const apt = createApt(lists, options.signal);
    const kernelName = await apt.kernelOf(kernelPackage);
    const wanted = await apt.describe([...(await apt.closure(names)), kernelName]);
    const files = await download(wanted, apt, options);
    const kernel = files.find((file) => file.name === kernelName);
    if (kernel === undefined) throw new TemplateBuildError(`apt did not describe the package ${kernelName}`);
    return { packages: files.filter((file) => file !== kernel), kernel };
  };
  try {
    return await fetchWith(undefined);
  } catch (first) {
    options.signal.throwIfAborted();
    if (!(first instanceof TemplateBuildError) || first instanceof MissingProgramError) throw first;
    options.log('the package lists of this machine do not serve; fetching newer ones');
    try {
      await createApt(ours, options.signal).update();
      return await fetchWith(ours);
    } catch (second) {
      if (!(second instanceof TemplateBuildError)) throw second;
      throw new TemplateBuildError(`${first.message}; and with newer package lists: ${second.message}`);
    }
  }
}

interface Apt {
  update(): Promise<void>;
  /** Names of all packages that installing `names` on an empty system would install. */
  closure(names: readonly string[]): Promise<readonly string[]>;
  describe(names: readonly string[]): Promise<readonly IndexedPackage[]>;
  kernelOf(metaPackage: string): Promise<string>;
  /** Into the directory; apt checks the hashes. */
  download(packages: readonly IndexedPackage[], directory: string): Promise<void>;
}

/** `lists`: a directory of our own for the package lists; undefined for the machine's. */
function createApt(lists: string | undefined, signal: AbortSignal): Apt {
  const common = [
    ...option('Dir::State::status', '/dev/null'),
    ...option('APT::Install-Recommends', '0'),
    ...option('APT::Install-Suggests', '0'),
    ...option('APT::Sandbox::User', 'root'),
    ...option('Debug::NoLocking', '1'),
    ...(lists === undefined
      ? []
      : [
          ...option('Dir::State::lists', lists),
          ...option('Dir::Cache::pkgcache', ''),
          ...option('Dir::Cache::srcpkgcache', ''),
        ]),
  ];
  const query = (program: string, ...args: string[]): Promise<string> =>
    run(program, [...common, ...args], { signal, timeoutMs: QUERY_MS });
  return {
    update: async () => {
      if (lists === undefined) throw new Error('the lists of the machine are not ours to update');
      await mkdir(join(lists, 'partial'), { recursive: true });
      await run('apt-get', [...common, '-qq', 'update'], { signal, timeoutMs: DOWNLOAD_MS });
    },
    closure: async (names) =>
      parsePrintUris(await query('apt-get', '-qq', '--print-uris', 'install', ...names)).map(
        ({ name }) => name,
      ),
    describe: async (names) =>
      parsePrintUris(await query('apt-get', '-qq', '--print-uris', 'download', ...names)),
    kernelOf: async (metaPackage) => {
      const text = await query('apt-cache', 'show', '--no-all-versions', metaPackage);
      const kernel = /^Depends:.*\b(linux-image-[0-9][^\s,(]*)/m.exec(text)?.[1];
      if (kernel === undefined) throw new TemplateBuildError(`apt knows no package ${metaPackage}`);
      return kernel;
    },
    download: async (packages, directory) => {
      const exact = packages.map(({ name, version }) => `${name}=${version}`);
      await run('apt-get', [...common, '-qq', 'download', ...exact], {
        signal,
        cwd: directory,
        timeoutMs: DOWNLOAD_MS,
      });
    },
  };
}

function option(name: string, value: string): readonly [string, string] {
  return ['-o', `${name}=${value}`];
}

/** The lines `'uri' name_version_arch.deb size SHA256:…` of apt-get --print-uris. */
export function parsePrintUris(text: string): readonly IndexedPackage[] {
  const packages: IndexedPackage[] = [];
  for (const line of text.split('\n')) {
    const [, file, size, hash] = /^'[^']*' (\S+\.deb) ([0-9]+) (\S*)$/.exec(line) ?? [];
    if (file === undefined || size === undefined || hash === undefined) continue;
    const [name, version] = file.split('_');
    if (name === undefined || version === undefined) continue;
    packages.push({
      name,
      version: decodeURIComponent(version),
      file,
      size: Number(size),
      sha256: hash.startsWith('SHA256:') ? hash.slice('SHA256:'.length) : '',
    });
  }
  return packages;
}

/** Takes from the cache what is there and whole, and the rest from the mirror. */
async function download(
  wanted: readonly IndexedPackage[],
  apt: Apt,
  { cacheDir, log, signal }: AptOptions,
): Promise<readonly PackageFile[]> {
  const archives = join(cacheDir, 'debs');
  await mkdir(archives, { recursive: true });
  const missing: IndexedPackage[] = [];
  for (const one of wanted) {
    if (!(await isWhole(join(archives, one.file), one, signal))) missing.push(one);
  }
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  const temporary = await mkdtemp(join(archives, '.download-'));
  try {
    for (let done = 0, bytes = 0; done < missing.length; done += BATCH) {
      const batch = missing.slice(done, done + BATCH);
      log(
        `downloading Debian packages: ${done} of ${missing.length}, ${megabytes(bytes)} of ${megabytes(total)} MB`,
      );
      await apt.download(batch, temporary);
      for (const one of batch) {
        if (!(await isWhole(join(temporary, one.file), one, signal))) {
          throw new TemplateBuildError(`the package ${one.name} did not arrive as apt's index describes it`);
        }
        await rename(join(temporary, one.file), join(archives, one.file));
        bytes += one.size;
      }
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  await dropUnused(archives);
  return wanted.map(({ name, file }) => ({ name, path: join(archives, file) }));
}

async function isWhole(path: string, expected: IndexedPackage, signal: AbortSignal): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== expected.size) return false;
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, { signal });
  if (hash.digest('hex') !== expected.sha256) return false;
  const now = new Date();
  await utimes(path, now, now);
  return true;
}

/** Versions that no build has asked for in a month go. */
async function dropUnused(archives: string): Promise<void> {
  for (const name of await readdir(archives)) {
    const path = join(archives, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() && found.mtimeMs < Date.now() - UNUSED_AFTER_MS) {
      await unlink(path).catch(() => undefined);
    }
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}
