import type { Clock, Timer } from '../../../kube/clock.ts';
import type { TemplateBundle } from '../../vm/template.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { Judgement } from './judge.ts';

/** A bundle is looked at once nothing was written to it for this long. */
const SETTLE_MS = 150;
/** What looks broken is called so once nothing was written to it for this long: a copy may stall. */
const PATIENCE_MS = 5_000;

/** What is known of one bundle directory. */
export type Verdict =
  | { readonly state: 'healthy'; readonly bundle: TemplateBundle }
  | { readonly state: 'broken'; readonly problem: string }
  | { readonly state: 'absent' };

export interface BundleWatchOptions {
  readonly dir: string;
  readonly clock: Clock;
  judge(signal: AbortSignal): Promise<Judgement>;
  /** Called whenever the verdict changed. */
  changed(): void;
}

/** Follows one bundle directory: told that it was touched, it looks when the dust has settled. */
export class BundleWatch {
  readonly #options: BundleWatchOptions;
  #verdict: Verdict | undefined;
  /** Fingerprint that the verdict is about. */
  #fingerprint: string | undefined;
  #timer: Timer | undefined;
  #looking: AbortController | undefined;

  constructor(options: BundleWatchOptions) {
    this.#options = options;
  }

  /** undefined while nothing can be said yet. */
  verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /** Something in the directory changed, or may have. Ends a look that is under way. */
  touched(settleMs = SETTLE_MS): void {
    this.#looking?.abort();
    this.#lookIn(settleMs);
  }

  /** Looks whether an event was missed. Does not disturb what is under way. */
  recheck(): void {
    if (this.#timer === undefined && this.#looking === undefined) this.#lookIn(0);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#looking?.abort();
  }

  #lookIn(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#look();
    }, ms);
  }

  async #look(): Promise<void> {
    const look = new AbortController();
    this.#looking = look;
    try {
      const judgement = await this.#judgeIfChanged(look.signal);
      if (!look.signal.aborted && judgement !== undefined) this.#conclude(judgement);
    } catch (error) {
      if (!look.signal.aborted)
        this.#broken(undefined, `${this.#options.dir}: cannot be read: ${messageOf(error)}`);
    } finally {
      if (this.#looking === look) this.#looking = undefined;
    }
  }

  /** undefined: nothing changed since the verdict. What did change is not offered while it is judged. */
  async #judgeIfChanged(signal: AbortSignal): Promise<Judgement | undefined> {
    if (this.#fingerprint !== undefined) {
      const now = await fingerprintOf(this.#options.dir);
      if (signal.aborted || now?.value === this.#fingerprint) return undefined;
      if (this.#verdict?.state === 'healthy') this.#set(undefined, undefined);
    }
    return this.#options.judge(signal);
  }

  #conclude(judgement: Judgement): void {
    switch (judgement.state) {
      case 'changing':
        this.#lookIn(SETTLE_MS);
        break;
      case 'absent':
        this.#set({ state: 'absent' }, undefined);
        break;
      case 'healthy':
        this.#set({ state: 'healthy', bundle: judgement.bundle }, judgement.fingerprint);
        break;
      case 'broken': {
        const quietMs = this.#options.clock.now() - judgement.changedAt;
        // A time of change in the future comes from a clock that was set back: nothing to wait for.
        if (quietMs >= 0 && quietMs < PATIENCE_MS) this.#lookIn(PATIENCE_MS - quietMs);
        else this.#broken(judgement.fingerprint, judgement.problem);
      }
    }
  }

  #broken(fingerprint: string | undefined, problem: string): void {
    this.#set({ state: 'broken', problem }, fingerprint);
  }

  #set(verdict: Verdict | undefined, fingerprint: string | undefined): void {
    this.#verdict = verdict;
    this.#fingerprint = fingerprint;
    this.#options.changed();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
