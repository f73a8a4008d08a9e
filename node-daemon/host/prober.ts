import { backoffMs } from '../../kube/backoff.ts';
import type { Clock, Timer } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import type { VmDriver } from '../vm/driver.ts';
import type { Probe } from './decide.ts';

const BACKOFF = { baseMs: 1_000, maxMs: 300_000 };
/** A probe boots a guest at most; one that takes longer is told of as failed until it answers. */
const PATIENCE_MS = 120_000;

export interface ProberOptions {
  readonly driver: Pick<VmDriver, 'name' | 'probe'>;
  readonly clock: Clock;
  readonly log: Logger;
  changed(): void;
}

/** Tries the driver: at start, again after a failure, and whenever it is asked to. One probe at a time. */
export class Prober {
  readonly #options: ProberOptions;
  #result: Probe = { state: 'running' };
  #running = false;
  #askedAgain = false;
  #failures = 0;
  #retry: Timer | undefined;
  #late: Timer | undefined;
  #stopped = false;
  readonly #settling = Promise.withResolvers<void>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** The last answer stands while the driver is tried again. */
  result(): Probe {
    return this.#result;
  }

  /** Resolves at the first answer. */
  get settled(): Promise<void> {
    return this.#settling.promise;
  }

  /** Tries the driver now, or once more after the try that is under way. */
  probe(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#askedAgain = true;
      return;
    }
    this.#retry?.cancel();
    this.#running = true;
    void this.#run();
  }

  /** A probe that is under way is left to its driver, which bounds it; its answer is dropped. */
  stop(): void {
    this.#stopped = true;
    this.#retry?.cancel();
    this.#late?.cancel();
  }

  async #run(): Promise<void> {
    const { driver, clock } = this.#options;
    this.#late = clock.setTimeout(
      () => this.#conclude({ state: 'failed', message: `the driver ${driver.name} does not answer` }),
      PATIENCE_MS,
    );
    const result = await this.#try();
    this.#late.cancel();
    this.#running = false;
    this.#conclude(result);
    this.#failures = result.state === 'failed' ? this.#failures + 1 : 0;
    if (this.#askedAgain) {
      this.#askedAgain = false;
      this.probe();
    } else if (result.state === 'failed' && !this.#stopped) {
      this.#retry = clock.setTimeout(() => this.probe(), backoffMs(this.#failures, BACKOFF, Math.random));
    }
  }

  async #try(): Promise<Probe> {
    try {
      return { state: 'works', capabilities: await this.#options.driver.probe() };
    } catch (error) {
      return { state: 'failed', message: error instanceof Error ? error.message : String(error) };
    }
  }

  #conclude(result: Probe): void {
    if (this.#stopped) return;
    const before = this.#result;
    this.#result = result;
    this.#settling.resolve();
    this.#tell(before);
    this.#options.changed();
  }

  #tell(before: Probe): void {
    const { driver, log } = this.#options;
    const now = this.#result;
    if (now.state === 'works') {
      if (before.state !== 'works' || before.capabilities.accelerator !== now.capabilities.accelerator) {
        log.info({ driver: driver.name, ...now.capabilities }, 'the driver works');
      }
    } else if (now.state === 'failed' && (before.state !== 'failed' || before.message !== now.message)) {
      log.error({ driver: driver.name }, `no VM can be started: ${now.message}`);
    }
  }
}
