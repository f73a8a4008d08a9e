import type { Clock } from './clock.ts';

/**
 * How long ago moments were that are recorded by the wall clock. The wall clock is believed once, when a moment is
 * first asked for; from then on the monotonic clock counts, which nobody sets.
 */
export class Elapsed {
  readonly #clock: Clock;
  readonly #known = new Map<number | string, { readonly ageMs: number; readonly at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Milliseconds since a moment in epoch milliseconds; never negative. `key`: whose moment it is, where it is to be
   * forgotten some time; default: the moment's own.
   */
  since(moment: number, key: number | string = moment): number {
    const now = this.#clock.monotonic();
    const known = this.#known.get(key);
    if (known !== undefined) return known.ageMs + now - known.at;
    const ageMs = Math.max(0, this.#clock.now() - moment);
    this.#known.set(key, { ageMs, at: now });
    return ageMs;
  }

  forget(key: string): void {
    this.#known.delete(key);
  }
}
