import { hashOf } from './random.ts';

/** One thing that happened. */
export interface TraceLine {
  readonly at: number;
  readonly who: string;
  readonly what: string;
}

/** What happened, as a hash that two equal runs share, and in words where somebody wants to read them. */
export class Trace {
  readonly lines: TraceLine[] = [];
  readonly #now: () => number;
  readonly #keeps: boolean;
  #low = 0x811c9dc5;
  #high = 0x01000193;
  #count = 0;

  constructor(now: () => number, keeps: boolean) {
    this.#now = now;
    this.#keeps = keeps;
  }

  get hash(): string {
    return `${this.#high.toString(16).padStart(8, '0')}${this.#low.toString(16).padStart(8, '0')}`;
  }

  add(who: string, what: string): void {
    const at = this.#now();
    this.#count += 1;
    this.#low = hashOf(what, hashOf(who, this.#low ^ at));
    this.#high = hashOf(what, this.#high ^ this.#count);
    if (this.#keeps) this.lines.push({ at, who, what });
  }
}
