import { isOver } from '../../crds/attempts.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Clock } from '../../kube/clock.ts';
import { Elapsed } from '../../kube/elapsed.ts';
import type { Stored } from '../../kube/object.ts';

/**
 * For how long Runners have been over. `status.finishedAt` is by the wall clock of the host that wrote it, which may
 * be wrong; deleting too early cannot be undone. So an end that happens before the controller's eyes counts
 * from when it was seen, on the monotonic clock. Only of an end that was there when the controller started is
 * `finishedAt` believed, once: as long as it is no earlier than the Runner's creation and not in the future.
 */
export class OverSince {
  readonly #clock: Clock;
  readonly #elapsed: Elapsed;
  /** UIDs of Runners that were seen while they were not over. */
  readonly #alive = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#elapsed = new Elapsed(clock);
  }

  /** Milliseconds; undefined where the Runner is not over. To be asked of every state that is seen. */
  observe(runner: Stored<Runner>): number | undefined {
    const { uid } = runner.metadata;
    if (!isOver(runner)) {
      this.#alive.add(uid);
      return undefined;
    }
    return this.#elapsed.since(this.#alive.has(uid) ? this.#clock.now() : this.#told(runner), uid);
  }

  forget(uid: string): void {
    this.#alive.delete(uid);
    this.#elapsed.forget(uid);
  }

  /** An end that nobody wrote a time to is one of now. */
  #told({ metadata, status }: Stored<Runner>): number {
    const finishedAt = Date.parse(status?.finishedAt ?? '');
    if (Number.isNaN(finishedAt)) return this.#clock.now();
    return Math.max(finishedAt, Date.parse(metadata.creationTimestamp));
  }
}
