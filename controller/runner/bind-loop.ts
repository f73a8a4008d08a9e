import type { Runner } from '../../crds/runner.ts';
import type { Clock, Timer } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { WorkQueue } from '../../kube/queue.ts';
import type { Resources } from '../../kube/resources.ts';
import { logFailedWrite } from '../problems.ts';
import { type BindOutcome, bind, inspect } from './act.ts';
import type { Binder, Match } from './binder.ts';
import { clip } from './explain.ts';

export interface BindLoopOptions {
  readonly binder: Binder;
  readonly runners: Pick<Resources<Runner>, 'get' | 'patch'>;
  /** Takes an answer of the API server for the state that is known. Returns the newest state known. */
  readonly learn: (runner: Stored<Runner>) => Stored<Runner>;
  readonly clock: Clock;
  readonly log: Logger;
  /** After each round: verdicts may have changed. */
  readonly onRound: () => void;
  /** Once per binding. `requestMs`: how long its write took; undefined where its answer was lost. */
  readonly onBound: (match: Match, requestMs: number | undefined) => void;
  readonly onRefused: (match: Match, message: string) => void;
}

/** Bindings being written at once: enough to keep one API server busy, and a bound on what a crash leaves unknown. */
const MAX_IN_FLIGHT = 32;
/** A refused Runner is tried again after this; what refused it sends no event here. */
export const REFUSED_RETRY_MS = 30_000;

/**
 * Writes what the binder decides. Each decision is made when there is room to write it, so that it rests on
 * the newest state and the oldest Runner comes first.
 */
export class BindLoop {
  readonly #options: BindLoopOptions;
  readonly #inFlight = new Set<Promise<void>>();
  /** Matches that did not end in a known way, or were refused, by UID: they are looked into again. */
  readonly #unsettled = new Map<string, Match>();
  readonly #settling: WorkQueue;
  #running = false;
  #wakeup: Timer | undefined;
  #rejudge: Timer | undefined;

  constructor(options: BindLoopOptions) {
    this.#options = options;
    this.#settling = new WorkQueue({
      clock: options.clock,
      concurrency: 4,
      handle: async (uid) => await this.#settle(uid),
      onError: (uid, error, failures, retryInMs) =>
        logFailedWrite(
          options.log,
          error,
          { uid, failures, retryInMs },
          'cannot find out whether a Runner was bound',
        ),
    });
  }

  /** Begins. Everything must have been listed by then. */
  start(): void {
    this.#running = true;
    this.#settling.start();
    this.wake();
  }

  /** Something changed. Changes that come together are decided on together. */
  wake(): void {
    if (!this.#running) return;
    this.#wakeup ??= this.#options.clock.setTimeout(() => {
      this.#wakeup = undefined;
      this.#round();
    }, 0);
  }

  /** Resolves when no binding is being written any more. */
  async stop(): Promise<void> {
    this.#running = false;
    this.#wakeup?.cancel();
    this.#rejudge?.cancel();
    await this.#settling.shutdown();
    await Promise.all(this.#inFlight);
  }

  #round(): void {
    const { binder, clock, onRound } = this.#options;
    const now = clock.monotonic();
    while (this.#inFlight.size < MAX_IN_FLIGHT) {
      const match = binder.next(now);
      if (match === undefined) break;
      this.#send(match);
    }
    const rejudgeInMs = binder.rejudge(now);
    this.#rejudge?.cancel();
    this.#rejudge = rejudgeInMs === undefined ? undefined : clock.setTimeout(() => this.wake(), rejudgeInMs);
    onRound();
  }

  #send(match: Match): void {
    const sending = this.#bind(match).finally(() => {
      this.#inFlight.delete(sending);
      this.wake();
    });
    this.#inFlight.add(sending);
  }

  async #bind(match: Match): Promise<void> {
    const { clock, runners } = this.#options;
    const startedAt = clock.monotonic();
    const outcome = await bind(runners, match);
    this.#conclude(match, outcome, clock.monotonic() - startedAt);
  }

  #conclude(match: Match, outcome: BindOutcome, requestMs?: number): void {
    const { binder, learn, log, onBound, onRefused } = this.#options;
    const { uid, namespace, name } = match.runner.metadata;
    this.#unsettled.delete(uid);
    switch (outcome.is) {
      case 'bound':
        log.info({ namespace, name, uid, host: match.host.name, attempt: match.attempt }, 'bound a Runner');
        binder.retry(uid, learn(outcome.runner));
        onBound(match, requestMs);
        return;
      case 'changed':
        binder.release(uid);
        binder.retry(uid, outcome.runner === undefined ? undefined : learn(outcome.runner));
        return;
      case 'refused':
        log.warn({ namespace, name, uid, reason: outcome.message }, 'the API server refused a binding');
        binder.release(uid, { reason: 'BindingRefused', message: clip(outcome.message) });
        this.#unsettled.set(uid, match);
        this.#settling.addAfter(uid, REFUSED_RETRY_MS);
        onRefused(match, outcome.message);
        return;
      case 'unknown':
        log.warn(
          { err: outcome.error, namespace, name, uid },
          'no answer to a binding: its slot stays taken',
        );
        this.#unsettled.set(uid, match);
        this.#settling.addRateLimited(uid);
        return;
    }
  }

  /** Throws where the truth is still not known: the queue tries again. */
  async #settle(uid: string): Promise<undefined> {
    const match = this.#unsettled.get(uid);
    if (match === undefined) return undefined;
    const outcome = await inspect(this.#options.runners, match);
    if (outcome.is === 'unknown') throw outcome.error;
    this.#conclude(match, outcome);
    this.wake();
    return undefined;
  }
}
