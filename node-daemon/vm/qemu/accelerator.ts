import { spawn } from 'node:child_process';
import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../../durable-file.ts';
import type { QemuInstallation } from './installation.ts';
import type { BootableTemplate } from './template-files.ts';

export interface AcceleratorChoice {
  readonly accelerator: 'kvm' | 'tcg';
  /** Why not kvm; for people. */
  readonly reason: string | undefined;
  /** False where nothing was tried because there is no template yet. */
  readonly decided: boolean;
}

const CACHE_FILE = 'accelerator.json';
const Cache = z.object({
  key: z.string(),
  accelerator: z.enum(['kvm', 'tcg']),
  reason: z.string().optional(),
});

const KVM_DEVICE = '/dev/kvm';
/** A kernel boots within 2 s under kvm, a few times that where kvm itself is nested. */
const BOOT_LIMIT_SECONDS = 10;
const MAX_OUTPUT = 256 * 1024;
/**
 * A kernel that is given no disk comes to this line after all of its drivers were initialised. Nothing earlier
 * proves that timers, interrupts and devices work.
 */
const BOOTED = 'Unable to mount root fs';

/**
 * Whether guests run under kvm, found by booting the template's kernel without a disk. That the device exists
 * proves nothing: nested kvm may hang any guest. The verdict is kept in the host root for this boot of the
 * machine, this QEMU and this kernel. Never rejects for a guest that does not boot.
 */
export async function chooseAccelerator(
  root: string,
  installation: QemuInstallation,
  template: BootableTemplate | undefined,
  bootId: string,
): Promise<AcceleratorChoice> {
  const usable = await access(KVM_DEVICE, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!usable) {
    const reason = `${KVM_DEVICE} is not there, or not readable and writable for this user`;
    return { accelerator: 'tcg', reason, decided: true };
  }
  if (template === undefined) {
    return { accelerator: 'tcg', reason: 'no template yet to try kvm with', decided: false };
  }
  const path = join(root, CACHE_FILE);
  const key = [bootId, installation.version, template.kernelDigest].join(' ');
  const cached = await readCache(path);
  if (cached?.key === key) {
    return { accelerator: cached.accelerator, reason: cached.reason, decided: true };
  }
  const failure = await bootFailure(installation, template);
  const accelerator = failure === undefined ? 'kvm' : 'tcg';
  const reason = failure === undefined ? undefined : `kvm does not boot ${template.kernel}: ${failure}`;
  await replaceFile(path, `${JSON.stringify({ key, accelerator, reason }, null, 2)}\n`, 0o644);
  return { accelerator, reason, decided: true };
}

async function readCache(path: string): Promise<z.infer<typeof Cache> | undefined> {
  try {
    return Cache.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/**
 * Boots the kernel until it panics for want of a disk. Undefined: it did. QEMU runs under `timeout`, so that it
 * ends even if this process is killed.
 */
export async function bootFailure(
  { binary, firmware }: QemuInstallation,
  { kernel }: BootableTemplate,
  accelerator: readonly string[] = ['-accel', 'kvm', '-cpu', 'host'],
  limitSeconds: number = BOOT_LIMIT_SECONDS,
): Promise<string | undefined> {
  const argv = [
    ...['-M', 'q35', ...accelerator, '-m', '256', '-nodefaults', '-no-user-config', '-display', 'none'],
    ...(firmware === '' ? [] : ['-bios', firmware]),
    ...['-no-reboot', '-kernel', kernel, '-append', 'console=ttyS0 panic=-1', '-serial', 'stdio'],
  ];
  const child = spawn('timeout', ['-s', 'KILL', String(limitSeconds), binary, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString('latin1')).slice(-MAX_OUTPUT);
    if (output.includes(BOOTED)) child.kill('SIGTERM');
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const end = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(describeEnd(code, signal, output, limitSeconds)));
  });
  return output.includes(BOOTED) ? undefined : end;
}

function describeEnd(
  code: number | null,
  signal: string | null,
  output: string,
  limitSeconds: number,
): string {
  if (code === 137 || signal === 'SIGKILL') return `no sign of a booted kernel within ${limitSeconds} s`;
  const line = output.trimEnd().split('\n').at(-1) ?? '';
  return line === '' ? `QEMU ended with ${signal ?? `code ${code}`}` : line;
}
