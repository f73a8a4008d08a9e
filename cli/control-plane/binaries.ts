import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { buildPrograms, findGo } from './binaries-build.ts';
import {
  inspectCache,
  installPrograms,
  programPaths,
  programsDirectory,
  removeLeftovers,
} from './binaries-cache.ts';
import { downloadPrograms, findArchive } from './binaries-download.ts';
import { ControlPlaneError, oneLine } from './error.ts';
import { makePrivateDirectory } from './files.ts';
import { waitForLock } from './lock.ts';
import { KUBERNETES_VERSION, PROGRAMS, type Program } from './version.ts';

/** Paths of the three programs, each whole and executable. */
export interface ControlPlaneBinaries {
  readonly etcd: string;
  readonly kubeApiserver: string;
  readonly kubectl: string;
}

export interface BinariesOptions {
  /**
   * Default: process.env. Read: KUBEBUILDER_ASSETS, SHOESVZ_CACHE_DIR, XDG_CACHE_HOME, HOME, PATH,
   * SHOESVZ_ENVTEST_INDEX.
   */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Told of every long step, a line every few seconds. */
  readonly progress: (line: string) => void;
}

/** Longer than the longest build that another process may be at. */
const LOCK_TIMEOUT_MS = 60 * 60_000;

/**
 * Finds kube-apiserver, etcd and kubectl: in KUBEBUILDER_ASSETS, in the cache, by download (checked by hash),
 * or by building them with Go. Costs milliseconds once they are in the cache. Of several processes asking at
 * once one fills the cache and the others wait for it. Rejects with BinariesUnavailable, in one line that
 * says what was tried and what to install.
 */
export async function controlPlaneBinaries(options: BinariesOptions): Promise<ControlPlaneBinaries> {
  const env = options.env ?? process.env;
  const assets = env.KUBEBUILDER_ASSETS;
  if (assets) return fromAssets(assets);
  const directory = programsDirectory(env);
  const cached = await inspectCache(directory);
  return named(cached.state === 'good' ? cached.paths : await fillCache(directory, env, options.progress));
}

async function fromAssets(directory: string): Promise<ControlPlaneBinaries> {
  const paths = programPaths(directory);
  for (const program of PROGRAMS) {
    await access(paths[program], constants.X_OK).catch(() => {
      const message = `KUBEBUILDER_ASSETS: ${directory} holds no executable ${program}; unset it, or name a directory with ${PROGRAMS.join(', ')}`;
      throw new ControlPlaneError('BinariesUnavailable', message);
    });
  }
  return named(paths);
}

async function fillCache(
  directory: string,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<Record<Program, string>> {
  await makePrivateDirectory(dirname(directory)).catch((error: unknown) => {
    const message = `the cache directory cannot be made: ${oneLine(error)}; set SHOESVZ_CACHE_DIR to a writable directory`;
    throw new ControlPlaneError('BinariesUnavailable', message);
  });
  const lock = await waitForLock(`${directory}.lock`, {
    onWait: (pid) =>
      progress(`waiting for process ${pid ?? '?'}, which is getting the control plane's programs`),
    timeoutMs: LOCK_TIMEOUT_MS,
  });
  if (lock === undefined) {
    throw new ControlPlaneError(
      'BinariesUnavailable',
      `another process has held ${directory}.lock for an hour`,
    );
  }
  try {
    await removeLeftovers(directory);
    const cached = await inspectCache(directory);
    if (cached.state === 'good') return cached.paths;
    if (cached.state === 'corrupt') progress(`${directory} is thrown away: ${cached.why}`);
    await produce(directory, env, progress);
  } finally {
    lock.release();
  }
  const filled = await inspectCache(directory);
  if (filled.state !== 'good')
    throw new ControlPlaneError('BinariesUnavailable', `${directory} was not filled`);
  return filled.paths;
}

/** Tries each way in turn. */
async function produce(
  directory: string,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<void> {
  const tried = [`KUBEBUILDER_ASSETS is not set`, `${directory} has none`];
  for (const [name, way] of [
    ['download', viaDownload],
    ['build', viaBuild],
  ] as const) {
    const failure = await way(directory, env, progress).catch(oneLine);
    if (failure === undefined) return;
    progress(`${name} of the control plane's programs is not possible: ${failure}`);
    tried.push(`${name}: ${failure}`);
  }
  throw new ControlPlaneError(
    'BinariesUnavailable',
    `${PROGRAMS.join(', ')} ${KUBERNETES_VERSION} could not be had (${tried.join('; ')}): install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a directory that holds them`,
  );
}

async function viaDownload(
  directory: string,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<string | undefined> {
  const archive = await findArchive(env);
  if ('unusable' in archive) return archive.unusable;
  await installPrograms(directory, 'download', (into) => downloadPrograms(archive, into, progress));
  return undefined;
}

async function viaBuild(
  directory: string,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<string | undefined> {
  const go = await findGo(env);
  if ('unusable' in go) return `needs Go 1.26 or newer, but ${go.unusable}`;
  await installPrograms(directory, 'build', (into) => buildPrograms(go, into, env, progress));
  return undefined;
}

const named = (paths: Record<Program, string>): ControlPlaneBinaries => ({
  etcd: paths.etcd,
  kubeApiserver: paths['kube-apiserver'],
  kubectl: paths.kubectl,
});
