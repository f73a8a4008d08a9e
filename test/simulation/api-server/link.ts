import type { Random } from '../random.ts';

/** The network between one client and the API server, as faults have it. */
export class Link {
  /** `none`: nothing passes. `oneWay`: requests arrive, and no answer comes back. */
  passes: 'both' | 'none' | 'oneWay' = 'both';
  /** Added to every watch event's way. */
  watchLagMs = 0;
  /** Writes that are yet to fail, the next one first. */
  readonly failures: LinkFailure[] = [];
  readonly #random: Random;
  readonly #onHeal = new Set<() => void>();

  constructor(random: Random) {
    this.#random = random;
  }

  latencyMs(): number {
    return this.#random.chance(0.03) ? this.#random.int(20, 400) : this.#random.int(1, 6);
  }

  watchDelayMs(): number {
    return this.watchLagMs + this.latencyMs();
  }

  heal(): void {
    if (this.passes === 'both') return;
    this.passes = 'both';
    for (const listener of [...this.#onHeal]) listener();
  }

  /** What was under way when the link was cut goes on, or not. */
  onHeal(listener: () => void): () => void {
    this.#onHeal.add(listener);
    return () => this.#onHeal.delete(listener);
  }

  /** Whether a connection lives through a cut. */
  survivesCut(): boolean {
    return this.#random.chance(0.5);
  }
}

export type LinkFailure =
  /** It takes effect, and nobody hears of it. */
  { readonly mode: 'answerLost' } | { readonly mode: 'refused'; readonly code: 429 | 500 | 503 };
