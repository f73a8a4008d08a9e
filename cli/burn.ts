import { readdir } from 'node:fs/promises';
import { RUNNERS } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import type { KubeClient } from '../kube/client.ts';
import { sleep, systemClock } from '../kube/clock.ts';
import { Informer } from '../kube/informer.ts';
import type { Stored } from '../kube/object.ts';
import { runnersDir } from '../node-daemon/vm/bundle.ts';
import { CliError } from './failure.ts';

/** How often the host's directory is looked at for the last bundle: nothing tells of it. */
const DIRECTORY_POLL_MS = 100;
/** How many of those that do not go are named. */
const NAMED = 3;

export interface BurnOptions {
  readonly client: KubeClient;
  /** Its bundles are waited for, too. */
  readonly hostRoot: string;
  /** On systemClock's monotonic time. */
  readonly deadline: number;
  /** Rejects where waiting has become senseless. */
  readonly ended: Promise<never>;
  readonly progress: (line: string) => void;
}

/**
 * Deletes all Runners, those too that are created meanwhile, and returns when none is left, nor any bundle. Rejects
 * with one line when the deadline comes first.
 */
export async function burnAll({ client, hostRoot, deadline, ended, progress }: BurnOptions): Promise<void> {
  const informer = new Informer<Runner>({ client, type: RUNNERS });
  const runners = client.resources<Runner>(RUNNERS);
  const over = Promise.withResolvers<void>();
  over.promise.catch(() => undefined);
  const check = (): void => {
    if (informer.isSynced && informer.store.size === 0) over.resolve();
  };
  const burn = ({ metadata }: Stored<Runner>): void => {
    if (metadata.deletionTimestamp === undefined) {
      runners.delete(metadata, { uid: metadata.uid }).catch(over.reject);
    }
  };
  informer.on({ added: burn, deleted: check });
  informer.start();
  const unlessEnded = async <T>(promise: Promise<T>, what: () => string): Promise<T> =>
    await Promise.race([within(deadline, promise, what), ended]);
  const stop = new AbortController();
  try {
    await unlessEnded(informer.synced, () => 'the Runners cannot be listed');
    const { size } = informer.store;
    if (size > 0) progress(`deleting ${size} Runner${size === 1 ? '' : 's'}`);
    check();
    await unlessEnded(over.promise, () => stillThere(informer.store.list()));
    const emptied = untilEmpty(runnersDir(hostRoot), stop.signal);
    await unlessEnded(emptied, () => `bundles are still in ${runnersDir(hostRoot)}`);
  } finally {
    stop.abort();
    await informer.stop();
  }
}

async function untilEmpty(directory: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !(await isEmpty(directory))) await sleep(systemClock, DIRECTORY_POLL_MS, signal);
}

/** One that is not there is empty; of one that cannot be read nobody can say so. */
async function isEmpty(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw error;
  }
}

function stillThere(runners: readonly Stored<Runner>[]): string {
  const names = runners.slice(0, NAMED).map(({ metadata, spec }) => {
    const host = spec.binding?.hostName;
    return `${metadata.namespace}/${metadata.name}${host === undefined ? '' : ` on host ${host}`}`;
  });
  const more = runners.length - names.length;
  return `Runners are still there: ${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}; see kubectl describe runner`;
}

/** Rejects with one line when the deadline, on systemClock's monotonic time, comes first. */
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
