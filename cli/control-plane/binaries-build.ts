import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './child.ts';
import { KUBERNETES_VERSION, PROGRAMS } from './version.ts';

const RECIPE = fileURLToPath(new URL('recipe/', import.meta.url));
const OLDEST_GO = [1, 26] as const;
const BUILD_TIMEOUT_MS = 45 * 60_000;
const PROGRESS_EVERY_MS = 5_000;

/** A Go that can build the recipe. */
export interface GoToolchain {
  readonly file: string;
  readonly version: string;
}

/** Finds a Go new enough, in PATH or where its installer puts it; the reason where there is none. */
export async function findGo(env: NodeJS.ProcessEnv): Promise<GoToolchain | { readonly unusable: string }> {
  const file = await findProgram('go', [...(env.PATH ?? '').split(delimiter), '/usr/local/go/bin']);
  if (file === undefined) return { unusable: 'go is not in PATH' };
  // Asked inside the recipe: a Go that may fetch a newer toolchain answers with the one that its go.mod
  // wants.
  const answer = await run(file, ['env', 'GOVERSION'], { cwd: RECIPE, env, timeoutMs: 120_000 });
  if (answer.code !== 0) return { unusable: lastLine(answer.stderr) };
  const version = answer.stdout.trim();
  return isNewEnough(version) ? { file, version } : { unusable: `${file} is ${version}` };
}

/** Whether `go1.26.8` and the like can build the recipe. */
export function isNewEnough(version: string): boolean {
  const match = /^go(\d+)\.(\d+)/.exec(version);
  if (match === null) return false;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > OLDEST_GO[0] || (major === OLDEST_GO[0] && minor >= OLDEST_GO[1]);
}

/**
 * Builds the three programs into a directory from the Go module proxy alone: some 3 minutes on 2 cores, plus
 * the download of the modules the first time.
 */
export async function buildPrograms(
  go: GoToolchain,
  into: string,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<{ readonly kubernetes: string }> {
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 1000);
  const what = `${PROGRAMS.join(', ')} ${KUBERNETES_VERSION} with ${go.version}`;
  progress(`building ${what}: some minutes, this once`);
  const ticker = setInterval(() => progress(`building ${what}: ${seconds()} s`), PROGRESS_EVERY_MS);
  try {
    const packages = PROGRAMS.map((program) => `./${program}`);
    const args = ['build', '-trimpath', '-buildvcs=false', '-mod=readonly', '-ldflags', linkerFlags()];
    const built = await run(go.file, [...args, '-o', into, ...packages], {
      cwd: RECIPE,
      env: { ...env, CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' },
      timeoutMs: BUILD_TIMEOUT_MS,
    });
    if (built.code !== 0) throw new Error(`go build failed: ${lastLine(built.stderr)}`);
  } finally {
    clearInterval(ticker);
  }
  progress(`built ${what} in ${seconds()} s`);
  return { kubernetes: KUBERNETES_VERSION };
}

/** The version is a linker variable: without it kubectl and clients cannot tell what they speak to. */
function linkerFlags(): string {
  const [major = '', minor = ''] = KUBERNETES_VERSION.slice(1).split('.');
  const variables = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((path) => [
    `-X ${path}.gitVersion=${KUBERNETES_VERSION}`,
    `-X ${path}.gitMajor=${major}`,
    `-X ${path}.gitMinor=${minor}`,
    `-X ${path}.gitTreeState=clean`,
  ]);
  return ['-s', '-w', ...variables].join(' ');
}

async function findProgram(name: string, directories: readonly string[]): Promise<string | undefined> {
  for (const directory of directories) {
    if (directory === '') continue;
    const file = join(directory, name);
    const usable = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return file;
  }
  return undefined;
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
