import { execFile } from 'node:child_process';
import { readFile, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { ExplainedError } from '../../kube/explained-error.ts';
import type { MachineSize } from './capacity.ts';

/** What the machine is, read once when the daemon starts. */
export interface Machine extends MachineSize {
  /** As its maker names it: `Debian GNU/Linux 12 (bookworm)`, `26.1`. */
  readonly osVersion: string;
  readonly arch: 'arm64' | 'amd64';
}

/** Room on the volume that a path lies on. */
export interface VolumeRoom {
  readonly totalBytes: number;
  /** What this process may still write. */
  readonly freeBytes: number;
}

/** Throws {@link UnsupportedMachineError}, or where the volume of `root` cannot be read. */
export async function readMachine(root: string): Promise<Machine> {
  const os = SYSTEMS[process.platform];
  const arch = ARCHITECTURES[process.arch];
  if (os === undefined || arch === undefined) {
    throw new UnsupportedMachineError(process.platform, process.arch);
  }
  const [volume, osVersion] = await Promise.all([readVolume(root), OS_VERSION[os]()]);
  return {
    os,
    osVersion: osVersion.slice(0, 128),
    arch,
    cpus: availableParallelism(),
    memoryBytes: memoryBytes(),
    diskBytes: volume.totalBytes,
  };
}

export async function readVolume(path: string): Promise<VolumeRoom> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { totalBytes: bsize * blocks, freeBytes: bsize * bavail };
}

const SYSTEMS: Partial<Record<NodeJS.Platform, Machine['os']>> = { linux: 'linux', darwin: 'macOS' };
const ARCHITECTURES: Partial<Record<NodeJS.Architecture, Machine['arch']>> = { x64: 'amd64', arm64: 'arm64' };

const OS_VERSION = { linux: linuxVersion, macOS: macVersion };

/** A control group's limit binds the VMs as well: they are this daemon's children. 0 says there is none. */
function memoryBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

async function linuxVersion(): Promise<string> {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      const name = prettyName(await readFile(path, 'utf8'));
      if (name !== undefined) return name;
    } catch {
      // The next one may be there; a distribution without either is still Linux.
    }
  }
  return 'Linux';
}

/** PRETTY_NAME of an os-release file. */
export function prettyName(osRelease: string): string | undefined {
  const value = /^PRETTY_NAME=(?:"([^"\n]*)"|'([^'\n]*)'|([^\s"'][^\n]*))$/m.exec(osRelease);
  return value?.[1] ?? value?.[2] ?? value?.[3];
}

async function macVersion(): Promise<string> {
  const { stdout } = await promisify(execFile)('sw_vers', ['-productVersion'], { timeout: 5_000 });
  return stdout.trim();
}

/** The daemon cannot run on this kind of machine. */
export class UnsupportedMachineError extends ExplainedError {
  constructor(platform: string, arch: string) {
    super(`this machine is ${platform}/${arch}; the node daemon runs on macOS and Linux, on arm64 and x64`);
    this.name = 'UnsupportedMachineError';
  }
}
