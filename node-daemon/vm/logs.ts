import { stat, truncate } from 'node:fs/promises';
import { setInterval as every } from 'node:timers/promises';
import type { BundlePaths } from './driver.ts';

const DEFAULTS = { maxBytes: 8 * 2 ** 20, checkMs: 10_000 };

/**
 * Empties a log that has outgrown the limit. The VM's process appends, so that it goes on at the beginning;
 * what was there is lost. A log that is missing is fine.
 */
export async function boundLogs(
  bundle: Pick<BundlePaths, 'log' | 'serialLog'>,
  maxBytes: number,
): Promise<void> {
  await Promise.all([bundle.log, bundle.serialLog].map((path) => boundLog(path, maxBytes)));
}

/**
 * Keeps a VM's logs bounded until the signal is given: whoever is root in a guest may write to its console for
 * ever. Looks at the sizes every 10 s. Never rejects.
 */
export async function keepLogsBounded(
  bundle: Pick<BundlePaths, 'log' | 'serialLog'>,
  signal: AbortSignal,
  { maxBytes, checkMs }: { readonly maxBytes: number; readonly checkMs: number } = DEFAULTS,
): Promise<void> {
  try {
    for await (const _ of every(checkMs, undefined, { signal, ref: false })) {
      await boundLogs(bundle, maxBytes).catch(() => {});
    }
  } catch {
    // The signal was given.
  }
}

async function boundLog(path: string, maxBytes: number): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > maxBytes) await truncate(path, 0);
}
