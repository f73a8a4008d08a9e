import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../driver.ts';

const run = promisify(execFile);
const LIMITS = { timeout: 10_000, maxBuffer: 1024 * 1024 };
const FAST_FIRMWARE = 'qboot.rom';

/** Makes overlays; in a package of its own on some systems. */
export const QEMU_IMG = 'qemu-img';

/** What the QEMU that is installed can do. */
export interface QemuInstallation {
  readonly binary: string;
  readonly version: string;
  /** Whether it was built with seccomp. */
  readonly sandbox: boolean;
  /** A firmware that boots a kernel sooner than the default one; empty where it is not installed. */
  readonly firmware: string;
}

/** Rejects with DriverUnavailable where there is no QEMU that runs. */
export async function inspectInstallation(binary: string): Promise<QemuInstallation> {
  try {
    const [version, help, dataDirs] = await Promise.all([
      run(binary, ['--version'], LIMITS),
      run(binary, ['--help'], LIMITS),
      run(binary, ['-L', 'help'], LIMITS),
      run(QEMU_IMG, ['--version'], LIMITS),
    ]);
    const number = /emulator version (\S+)/.exec(version.stdout)?.[1];
    if (number === undefined) throw new Error(`${binary} --version does not tell its version`);
    return {
      binary,
      version: number,
      sandbox: /^-sandbox /m.test(help.stdout),
      firmware: (await hasFirmware(dataDirs.stdout.split('\n'))) ? FAST_FIRMWARE : '',
    };
  } catch (error) {
    const message =
      error instanceof Error && 'code' in error && error.code === 'ENOENT' && 'path' in error
        ? `${error.path} is not installed: install qemu-system-x86 and qemu-utils`
        : `${binary} does not run: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`;
    throw new VmError('DriverUnavailable', message, { cause: error });
  }
}

async function hasFirmware(dirs: readonly string[]): Promise<boolean> {
  for (const dir of dirs) {
    const found = await access(join(dir, FAST_FIRMWARE)).then(
      () => true,
      () => false,
    );
    if (dir !== '' && found) return true;
  }
  return false;
}
