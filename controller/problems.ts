import type { Clock, Timer } from '../kube/clock.ts';
import type { InformerProblem } from '../kube/informer.ts';
import type { Logger } from './log.ts';

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

  report(plural: string, { error, retryInMs }: InformerProblem): void {
    if (!this.#said.has(error.message)) {
      this.#said.add(error.message);
      const fields = { resource: plural, problem: error.message };
      if (retryInMs === 0) this.#log.debug(fields, 'a watch begins anew');
      else this.#log.warn(fields, 'cannot follow the API server; trying again until it can be followed');
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
      this.#log.info({}, 'following the API server again');
    } else {
      this.#timer = this.#clock.setTimeout(() => this.#look(), LOOK_EVERY_MS);
    }
  }
}
