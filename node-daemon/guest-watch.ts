import type { GuestStatus } from '../guest/protocol.ts';
import { type Clock, sleep } from '../kube/clock.ts';
import type { GuestAccess } from './runner/ports.ts';
import type { RuntimeMetadata } from './vm/metadata.ts';

/** Guests report what changes; asking is for reports that were lost. */
const ASK_EVERY_MS = 30_000;

/**
 * Asks a guest's agent for its status now and then, the first time at once where the guest was running before
 * this daemon. Answers that fail are no answers. Settles when `signal` aborts.
 */
export async function watchGuest(options: {
  readonly metadata: RuntimeMetadata;
  readonly token: string;
  readonly guests: Pick<GuestAccess, 'status'>;
  readonly askAtOnce: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onStatus: (status: GuestStatus) => void;
}): Promise<void> {
  const { metadata, token, guests, clock, signal, onStatus } = options;
  const endpoint = metadata.prepared?.endpoints.agent;
  if (endpoint === undefined) return;
  if (!options.askAtOnce) await sleep(clock, ASK_EVERY_MS, signal);
  while (!signal.aborted) {
    const status = await guests.status(endpoint, token, signal).catch(() => undefined);
    const { uid, attempt } = metadata.identity;
    if (status !== undefined && status.uid === uid && status.attempt === attempt) onStatus(status);
    await sleep(clock, ASK_EVERY_MS, signal);
  }
}
