import type { Clock, Timer } from '../../../kube/clock.ts';
import type { ManualClock } from '../../../kube/testing/manual-clock.ts';

/** A side effect of a daemon, before or after it took place: where a crash may fall. */
export interface Boundary {
  readonly call: string;
  readonly when: 'before' | 'after';
}

const NEVER = new Promise<never>(() => {});

/**
 * One process of a daemon. Everything that it does outside of its memory goes through here, so that it can die at
 * any boundary: nothing that it had asked for is answered any more, and nothing new takes place.
 */
export class Life {
  /** Boundaries that were passed, in order. */
  readonly boundaries: Boundary[] = [];
  /** Number of the boundary at which it dies, counted from 0. */
  diesAt: number | undefined;
  /** What a call waits for before it takes place, by its name: `bundles.create`. */
  readonly #gates: ReadonlyMap<string, () => Promise<void>>;
  /** Calls whose answers wait for the test. */
  readonly #hanging: ReadonlySet<string>;
  readonly #clock: ManualClock;
  readonly #timers = new Set<Timer>();
  readonly #counts = new Map<string, number>();
  #dead = false;
  #busy = 0;
  /** Of those, calls that make no others: what a death leaves in the hands of the machine. */
  #busyLeaves = 0;

  constructor(
    clock: ManualClock,
    gates: ReadonlyMap<string, () => Promise<void>>,
    hanging: ReadonlySet<string>,
  ) {
    this.#clock = clock;
    this.#gates = gates;
    this.#hanging = hanging;
  }

  get isDead(): boolean {
    return this.#dead;
  }

  /** Calls whose answers depend on neither time nor tests, and that are not answered yet. */
  get busy(): number {
    return this.#dead ? this.#busyLeaves : this.#busy;
  }

  die(): void {
    this.#dead = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  /** The world's clock as this process sees it. */
  get clock(): Clock {
    return {
      now: () => this.#clock.now(),
      monotonic: () => this.#clock.monotonic(),
      setTimeout: (callback, ms) => {
        const timer = this.#clock.setTimeout(() => {
          this.#timers.delete(timer);
          if (!this.#dead) callback();
        }, ms);
        this.#timers.add(timer);
        const cancel = (): void => {
          this.#timers.delete(timer);
          timer.cancel();
        };
        return { cancel };
      },
    };
  }

  /** How often something was called: `bundles.list` once per look at a Runner. */
  count(call: string): number {
    return this.#counts.get(call) ?? 0;
  }

  /** Timers of this process that wait. */
  get timers(): number {
    return this.#timers.size;
  }

  /**
   * The object as this process calls it. `effects`: methods that change the world, each call with a boundary
   * before and after. `waits`: methods whose answers wait for the world. `pure`: methods that touch nothing.
   * `composed`: its methods call other wrapped objects.
   */
  wrap<T extends object>(
    name: string,
    target: T,
    {
      effects = [],
      waits = [],
      pure = [],
      composed = false,
    }: {
      readonly effects?: readonly (keyof T)[];
      readonly waits?: readonly (keyof T)[];
      readonly pure?: readonly (keyof T)[];
      readonly composed?: boolean;
    } = {},
  ): T {
    return new Proxy(target, {
      get: (object, property) => {
        const value: unknown = Reflect.get(object, property);
        const key = property as keyof T;
        if (typeof value !== 'function' || pure.includes(key)) {
          return typeof value === 'function' ? value.bind(object) : value;
        }
        const call = `${name}.${String(property)}`;
        return (...args: unknown[]) => {
          const run = (): unknown => value.apply(object, args);
          const weight =
            waits.includes(key) || this.#hanging.has(call)
              ? { busy: 0, leaf: 0 }
              : { busy: 1, leaf: composed ? 0 : 1 };
          return this.#call(call, run, effects.includes(key), weight);
        };
      },
    });
  }

  async #call(
    call: string,
    run: () => unknown,
    isEffect: boolean,
    weight: { readonly busy: number; readonly leaf: number },
  ): Promise<unknown> {
    this.#counts.set(call, this.count(call) + 1);
    await this.#gates.get(call)?.();
    if (this.#dead || (isEffect && this.#diesHere({ call, when: 'before' }))) return await NEVER;
    this.#busy += weight.busy;
    this.#busyLeaves += weight.leaf;
    try {
      return await run();
    } finally {
      this.#busy -= weight.busy;
      this.#busyLeaves -= weight.leaf;
      const gone = this.#dead || (isEffect && this.#diesHere({ call, when: 'after' }));
      // Neither the answer nor the failure is heard by anybody.
      if (gone) await NEVER;
    }
  }

  #diesHere(boundary: Boundary): boolean {
    this.boundaries.push(boundary);
    if (this.boundaries.length - 1 !== this.diesAt) return false;
    this.die();
    return true;
  }
}
