import type { Clock, Timer } from '../../kube/clock.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';

/** 2026-01-01, when every simulation begins. */
export const EPOCH = Date.parse('2026-01-01T00:00:00Z');

/** A side effect of a process, before or after it takes place: where a crash may fall. */
export interface Boundary {
  readonly effect: string;
  readonly when: 'before' | 'after';
}

const NEVER = new Promise<never>(() => {});

/** The clocks of one machine. */
export interface MachineClock {
  /** By how much the wall clock is wrong, in milliseconds. */
  wallErrorMs: number;
  bootedAt: number;
}

export interface LifeOptions {
  readonly name: string;
  /** Which of the process's lives it is, from 1. */
  readonly number: number;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly machine: MachineClock;
  /** Whether the process dies here. */
  readonly diesAt: (boundary: Boundary) => boolean;
}

/**
 * One life of a process, from its start to its end. Whatever it does outside of its memory goes through here, so
 * that it can die at any boundary of an effect: then nothing that it asked for is answered any more, and nothing
 * that it goes on to do takes place.
 */
export class Life {
  readonly name: string;
  /** No other life has it: `controller#2`. */
  readonly id: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly bornAt: number;
  readonly #options: LifeOptions;
  readonly #onDeath = new Set<() => void>();
  #dead = false;

  constructor(options: LifeOptions) {
    this.#options = options;
    this.name = options.name;
    this.id = `${options.name}#${options.number}`;
    this.random = options.random;
    const { timeline, machine } = options;
    this.bornAt = timeline.now;
    this.clock = {
      now: () => EPOCH + timeline.now + machine.wallErrorMs,
      monotonic: () => timeline.now - machine.bootedAt,
      setTimeout: (callback, ms) => this.#after(Math.max(0, ms), callback),
    };
  }

  get isDead(): boolean {
    return this.#dead;
  }

  die(): void {
    if (this.#dead) return;
    this.#dead = true;
    for (const listener of this.#onDeath) listener();
  }

  onDeath(listener: () => void): () => void {
    this.#onDeath.add(listener);
    return () => this.#onDeath.delete(listener);
  }

  /** Time that a call takes. Never returns to the dead. */
  async takes(ms: number): Promise<void> {
    if (ms > 0) await this.#options.timeline.wait(Math.ceil(ms));
    if (this.#dead) await NEVER;
  }

  /** Changes the world, unless the process dies before; does not return where it dies afterwards. */
  async effect<T>(name: string, change: () => T): Promise<T> {
    if (this.boundary(name, 'before')) await NEVER;
    const result = change();
    if (this.boundary(name, 'after')) await NEVER;
    return result;
  }

  /** Passes a boundary. True: it is dead. */
  boundary(effect: string, when: Boundary['when']): boolean {
    if (!this.#dead && this.#options.diesAt({ effect, when })) this.die();
    return this.#dead;
  }

  #after(ms: number, callback: () => void): Timer {
    const { timeline } = this.#options;
    return timeline.at(Math.ceil(timeline.now + ms), () => {
      if (!this.#dead) callback();
    });
  }
}
