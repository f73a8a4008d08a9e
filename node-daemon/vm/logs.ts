import { stat, truncate } from 'node:fs/promises';
import { setInterval as every } from 'node:timers/promises';
import type { BundlePaths } from './driver.ts';

const MAX_LOG_BYTES = 8 * 2 ** 20;
const CHECK_MS = 10_000;

/**
 * Empties a log that has outgrown the limit. The VM's process appends, so that it goes on at the beginning;
 * what was there is lost. A log that is missing is fine.
 */
export async function boundLogs(
  bundle: Pick<BundlePaths, 'log' | 'serialLog'>,
  maxBytes: number = MAX_LOG_BYTES,
): Promise<void> {
  await Promise.all([bundle.log, bundle.serialLog].map((path) => boundLog(path, maxBytes)));
}

/**
 * Keeps a VM's logs bounded until the signal is given: whoever is root in a guest may write to its console for
 * ever. Looks at the sizes every 10 s. Never rejects.
 */
export async function keepLogsBounded(bundle: BundlePaths, signal: AbortSignal): Promise<void> {
  try {
    for await (const _ of every(CHECK_MS, undefined, { signal, ref: false })) {
      await boundLogs(bundle).catch(() => {});
    }
  } catch {
    return;
  }
}

async function boundLog(path: string, maxBytes: number): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > maxBytes) await truncate(path, 0);
}
