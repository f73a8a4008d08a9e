import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { ExplainedError } from '../../kube/explained-error.ts';
import { run } from '../control-plane/child.ts';

/** What programs of the operating system are needed for. */
export type PackagePurpose = 'run-vms' | 'build-template' | 'tests';

/** A program, found in PATH (which takes no time, unlike asking a package manager), and who brings it. */
export interface Tool {
  readonly program: string;
  readonly debian: string;
}

const QEMU: Tool =
  process.arch === 'arm64'
    ? { program: 'qemu-system-aarch64', debian: 'qemu-system-arm' }
    : { program: 'qemu-system-x86_64', debian: 'qemu-system-x86' };

const TOOLS: Record<PackagePurpose, readonly Tool[]> = {
  'run-vms': [QEMU, { program: 'qemu-img', debian: 'qemu-utils' }],
  'build-template': [
    { program: 'apt-get', debian: 'apt' },
    { program: 'dpkg-deb', debian: 'dpkg' },
    { program: 'fakeroot', debian: 'fakeroot' },
    { program: 'mke2fs', debian: 'e2fsprogs' },
  ],
  tests: [
    { program: 'ssh', debian: 'openssh-client' },
    { program: 'mkfs.xfs', debian: 'xfsprogs' },
  ],
};

/**
 * Something of the operating system is missing and cannot be installed from here. The message is one line.
 */
export class PackagesError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PackagesError';
  }
}

/** The machine, as far as packages go. */
export interface PackageSystem {
  hasProgram(name: string): Promise<boolean>;
  /** Whether packages can be installed: root on Debian or what descends from it. */
  canInstall(): Promise<boolean>;
  /** Rejects with what the package manager said. */
  install(packages: readonly string[], progress: (line: string) => void): Promise<void>;
}

export interface EnsurePackagesOptions {
  /** Told of every long step, a line every few seconds. */
  readonly progress: (line: string) => void;
  readonly system?: PackageSystem | undefined;
}

/**
 * Ensures the programs that the purposes need; costs milliseconds where they are there. Installs what is
 * missing where this process is root on Debian, and elsewhere rejects with a {@link PackagesError} that names
 * what to install.
 */
export async function ensurePackages(
  purposes: readonly PackagePurpose[],
  options: EnsurePackagesOptions,
): Promise<void> {
  const system = options.system ?? debianSystem(process.env);
  const missing = await missingTools(toolsFor(purposes), system);
  if (missing.length === 0) return;
  const packages = packagesOf(missing);
  const what = `${programs(missing)} ${missing.length === 1 ? 'is' : 'are'} not in PATH`;
  const remedy = `install ${packages.length === 1 ? 'the package' : 'the packages'} ${packages.join(' ')}`;
  if (!(await system.canInstall())) throw new PackagesError(`${what}: ${remedy} (apt-get install, as root)`);
  options.progress(`${what}: installing ${packages.join(' ')}`);
  try {
    await system.install(packages, options.progress);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new PackagesError(`${what}, and ${packages.join(' ')} cannot be installed: ${why}`, {
      cause: error,
    });
  }
  const left = await missingTools(missing, system);
  if (left.length > 0) {
    throw new PackagesError(`${programs(left)} cannot be found though ${packages.join(' ')} was installed`);
  }
}

/** Debian packages that the purposes need and this machine lacks. */
export async function missingPackages(
  purposes: readonly PackagePurpose[],
  system: PackageSystem = debianSystem(process.env),
): Promise<string[]> {
  return packagesOf(await missingTools(toolsFor(purposes), system));
}

const toolsFor = (purposes: readonly PackagePurpose[]): Tool[] =>
  purposes.flatMap((purpose) => TOOLS[purpose]);

const packagesOf = (tools: readonly Tool[]): string[] => [...new Set(tools.map((tool) => tool.debian))];

const programs = (tools: readonly Tool[]): string => tools.map((tool) => tool.program).join(', ');

async function missingTools(tools: readonly Tool[], system: PackageSystem): Promise<Tool[]> {
  const found = await Promise.all(tools.map((tool) => system.hasProgram(tool.program)));
  return tools.filter((_, index) => found[index] === false);
}

/** Where Debian keeps programs for administrators, which the PATH of other users may lack. */
const ADMINISTRATORS_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const UPDATE_TIMEOUT_MS = 5 * 60_000;
const INSTALL_TIMEOUT_MS = 20 * 60_000;
const PROGRESS_EVERY_MS = 5_000;
/** Another package manager at work is waited for. */
const LOCK_TIMEOUT_SECONDS = 120;

/** This machine. Says that it cannot install anywhere but on Debian. */
export function debianSystem(env: NodeJS.ProcessEnv): PackageSystem {
  const directories = [...(env.PATH ?? '').split(delimiter), ...ADMINISTRATORS_PATH];
  const readable = (path: string, mode: number): Promise<boolean> =>
    access(path, mode).then(
      () => true,
      () => false,
    );
  return {
    hasProgram: async (name) => {
      const candidates = directories.filter((directory) => directory !== '');
      const found = await Promise.all(candidates.map((one) => readable(join(one, name), constants.X_OK)));
      return found.includes(true);
    },
    canInstall: async () =>
      process.getuid?.() === 0 && (await readable('/etc/debian_version', constants.R_OK)),
    install: async (packages, progress) => {
      await aptGet(['update'], UPDATE_TIMEOUT_MS, env, progress);
      const install = ['install', '--yes', '--no-install-recommends', ...packages];
      await aptGet(install, INSTALL_TIMEOUT_MS, env, progress);
    },
  };
}

async function aptGet(
  args: readonly string[],
  timeoutMs: number,
  env: NodeJS.ProcessEnv,
  progress: (line: string) => void,
): Promise<void> {
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 1000);
  const ticker = setInterval(() => progress(`apt-get ${args[0]}: ${seconds()} s`), PROGRESS_EVERY_MS);
  try {
    const options = ['--quiet=2', '-o', `DPkg::Lock::Timeout=${LOCK_TIMEOUT_SECONDS}`];
    const done = await run('apt-get', [...options, ...args], {
      env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
      timeoutMs,
    });
    if (done.code === 0) return;
    const complaint = done.stderr.split('\n').find((line) => line.startsWith('E: '));
    throw new Error(complaint?.slice(3) ?? `apt-get ${args[0]} ended with exit code ${done.code}`);
  } finally {
    clearInterval(ticker);
  }
}
