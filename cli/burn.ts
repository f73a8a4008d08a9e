import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RUNNERS } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import type { KubeClient } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { Informer } from '../kube/informer.ts';
import { CliError } from './failure.ts';

/** How often the host's directory is looked at for the last bundle: nothing tells of it. */
const DIRECTORY_POLL_MS = 100;

export interface BurnOptions {
  readonly client: KubeClient;
  /** Bundles of a host root are waited for, too. */
  readonly hostRoot?: string | undefined;
  readonly timeoutMs: number;
  readonly progress: (line: string) => void;
}

/** Deletes all Runners and returns when none is left, nor any bundle. */
export async function burnAll({ client, hostRoot, timeoutMs, progress }: BurnOptions): Promise<void> {
  const deadline = systemClock.monotonic() + timeoutMs;
  const runners = client.resources<Runner>(RUNNERS);
  const informer = new Informer<Runner>({ client, type: RUNNERS });
  informer.start();
  try {
    const gone = Promise.withResolvers<void>();
    const check = (): void => {
      if (informer.isSynced && informer.store.size === 0) gone.resolve();
    };
    informer.on({ deleted: check });
    await informer.synced;
    const all = informer.store.list();
    if (all.length > 0) progress(`deleting ${all.length} Runner${all.length === 1 ? '' : 's'}`);
    for (const { metadata } of all) await runners.delete(metadata, { uid: metadata.uid });
    check();
    await within(
      deadline,
      gone.promise,
      () => `${informer.store.size} Runners are still there; see kubectl get runners -A`,
    );
    while (hostRoot !== undefined && (await bundles(hostRoot)).length > 0) {
      const wait = new Promise<void>((resolve) => setTimeout(resolve, DIRECTORY_POLL_MS));
      await within(deadline, wait, () => `bundles are still in ${join(hostRoot, 'runners')}`);
    }
  } finally {
    await informer.stop();
  }
}

const bundles = (hostRoot: string): Promise<string[]> => readdir(join(hostRoot, 'runners')).catch(() => []);

/** Rejects with one line when the deadline (monotonic ms) comes first. */
export async function within<T>(deadline: number, promise: Promise<T>, what: () => string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = systemClock.setTimeout(
    () => late.reject(new CliError(`gave up waiting: ${what()}`)),
    deadline - systemClock.monotonic(),
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    timer.cancel();
  }
}
