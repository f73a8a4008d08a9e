import type { Runner } from '../../crds/runner.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { objectKey, refOfKey } from '../../kube/paths.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import type { Resources } from '../../kube/resources.ts';
import type { Informers } from '../informers.ts';
import { logFailedWrite } from '../problems.ts';
import { OverSince } from './over-since.ts';
import { decideTtl } from './ttl.ts';

export interface TtlControllerOptions {
  readonly informers: Pick<Informers, 'runners'>;
  readonly runners: Pick<Resources<Runner>, 'delete'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Deletes Runners that are over when their `ttlSecondsAfterFinished` have passed; one timer each, no polling. */
export class TtlController {
  readonly #options: TtlControllerOptions;
  readonly #queue: WorkQueue;
  readonly #overSince: OverSince;
  #unsubscribe: (() => void) | undefined;

  constructor(options: TtlControllerOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#overSince = new OverSince(clock);
    this.#queue = new WorkQueue({
      clock,
      concurrency: 4,
      handle: async (key) => await this.#reconcile(key),
      onError: (runner, error, failures, retryInMs) =>
        logFailedWrite(
          log,
          error,
          { runner, failures, retryInMs },
          'cannot delete a Runner whose time is up now',
        ),
    });
  }

  /** Begins. The informer must have synced. */
  start(): void {
    const changed = (runner: Stored<Runner>): void => {
      const overForMs = this.#overSince.observe(runner);
      if (overForMs !== undefined) this.#queue.add(objectKey(runner.metadata));
    };
    this.#unsubscribe = this.#options.informers.runners.on({
      added: changed,
      updated: (_, runner) => changed(runner),
      deleted: ({ metadata }) => this.#overSince.forget(metadata.uid),
    });
    this.#queue.start();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    await this.#queue.shutdown();
  }

  /** Fenced: a Runner whose time was prolonged meanwhile is not deleted, nor another one of its name. */
  async #reconcile(key: string): Promise<QueueResult> {
    const { informers, runners, log } = this.#options;
    const runner = informers.runners.store.get(refOfKey(key));
    if (runner === undefined) return undefined;
    const { delete: isDue, requeueAfterMs } = decideTtl(runner, this.#overSince.observe(runner));
    if (!isDue) return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
    const { uid, resourceVersion, namespace, name } = runner.metadata;
    if (await runners.delete(runner.metadata, { uid, resourceVersion })) {
      log.info({ namespace, name, uid }, 'deleted a Runner that was over (ttlSecondsAfterFinished)');
    }
    return undefined;
  }
}
