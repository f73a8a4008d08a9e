import { setTimeout as delay } from 'node:timers/promises';

const DEADLINE_MS = 120_000;
const INTERVAL_MS = 100;

/**
 * Waits for something to become true, and says what it waited for, and what was seen last, where it does not
 * within two minutes. For tests that look from outside; the product itself is driven by events.
 */
export async function until(
  what: string,
  isTrue: () => Promise<boolean>,
  seen: () => string = () => '',
): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}. ${seen()}`);
    await delay(INTERVAL_MS);
  }
}
