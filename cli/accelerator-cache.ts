import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * A host root remembers whether kvm boots its guests, for this boot of the machine, this QEMU and this kernel.
 * Finding out takes seconds, so that roots which live for a minute share what was found.
 */
const FILE = 'accelerator.json';

/** Lets a fresh root know what is known. */
export async function recallAccelerator(cacheDir: string, hostRoot: string): Promise<void> {
  await mkdir(hostRoot, { recursive: true });
  await copyFile(join(cacheDir, FILE), join(hostRoot, FILE)).catch(() => undefined);
}

/** Keeps what the root has found out. */
export async function rememberAccelerator(cacheDir: string, hostRoot: string): Promise<void> {
  await copyFile(join(hostRoot, FILE), join(cacheDir, FILE)).catch(() => undefined);
}
