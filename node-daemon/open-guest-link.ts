import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../kube/log.ts';
import { replaceFile } from './durable-file.ts';
import { type GuestLink, startGuestLink } from './guest-link/server.ts';

/** Guests reach the host under its loopback address: QEMU's user network shows it to them as 10.0.2.2. */
const ADDRESS = '127.0.0.1';

/**
 * Starts the guest link. Port 0 is any free one, and the one of the last start where it is free again: running
 * guests go on reporting there. Rejects with one line where a given port is busy.
 */
export async function openGuestLink(options: {
  root: string;
  port: number;
  log: Logger;
}): Promise<GuestLink> {
  const { root, port, log } = options;
  if (port !== 0) return await startGuestLink({ host: ADDRESS, port, log });
  const file = join(root, 'guest-link-port');
  const last = Number((await readFile(file, 'utf8').catch(() => '0')).trim());
  if (Number.isInteger(last) && last > 0) {
    const again = await startGuestLink({ host: ADDRESS, port: last, log }).catch(() => undefined);
    if (again !== undefined) return again;
    log.warn({ port: last }, 'the port that running guests report to is taken; they are asked instead');
  }
  const fresh = await startGuestLink({ host: ADDRESS, port: 0, log });
  await replaceFile(file, `${fresh.port}\n`, 0o644);
  return fresh;
}
