import type { Clock, Timer } from '../kube/clock.ts';
import { ApiError, ApiUnreachable, isConflict, isNotFound } from '../kube/errors.ts';
import type { InformerProblem } from '../kube/informer.ts';
import type { Logger } from '../kube/log.ts';

/** How often it is looked whether all is well again. */
const LOOK_EVERY_MS = 5_000;

/**
 * Says once that the API server cannot be followed, however many informers find out however often, and once
 * that it can be again.
 */
export class ProblemLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #isWell: () => boolean;
  readonly #said = new Set<string>();
  #timer: Timer | undefined;

  constructor(options: { log: Logger; clock: Clock; isWell: () => boolean }) {
    this.#log = options.log;
    this.#clock = options.clock;
    this.#isWell = options.isWell;
  }

  report(resource: string, { error, retryInMs }: InformerProblem): void {
    const fields = { resource, problem: error.message };
    if (retryInMs === 0) {
      this.#log.debug(fields, 'a watch begins anew');
      return;
    }
    const nature = error instanceof ApiError ? `${error.name} ${error.code}` : error.name;
    if (!this.#said.has(nature)) {
      this.#said.add(nature);
      this.#log.warn(fields, 'cannot follow the API server; it is tried until it can be followed');
    }
    this.#timer ??= this.#clock.setTimeout(() => this.#look(), LOOK_EVERY_MS);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#isWell()) {
      this.#said.clear();
      this.#log.info({}, 'the API server can be followed again');
    } else {
      this.#timer = this.#clock.setTimeout(() => this.#look(), LOOK_EVERY_MS);
    }
  }
}

/** Failures in a row after which a write that is tried again is worth a line. */
const WORTH_A_LINE = [3, 10];

/**
 * Tells of a write that failed and is tried again. Lost races are no news, nor is an API server that is away:
 * {@link ProblemLog} says so once for all.
 */
export function logFailedWrite(
  log: Logger,
  error: unknown,
  fields: { readonly failures: number; readonly retryInMs: number; readonly [key: string]: unknown },
  message: string,
): void {
  const isOurBug = !(error instanceof ApiError || error instanceof ApiUnreachable);
  if (isOurBug) {
    log.error({ ...fields, err: error }, message);
    return;
  }
  const isNoNews = isConflict(error) || isNotFound(error) || error instanceof ApiUnreachable;
  const details = { ...fields, problem: error.message };
  if (isNoNews || !WORTH_A_LINE.includes(fields.failures)) log.debug(details, message);
  else log.warn(details, message);
}
