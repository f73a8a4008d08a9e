import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';

/** Where a process dies: before its n-th call of that name takes effect, or after, counted from 0. */
export interface CrashPoint {
  readonly call: string;
  readonly nth: number;
  readonly when: 'before' | 'after';
  /** It waits there instead, until it is told to go on. */
  readonly holds?: boolean | undefined;
}

export const pointName = ({ call, nth, when }: CrashPoint): string => `${when} ${call} #${nth}`;

const NEVER = new Promise<never>(() => {});

/**
 * Everything through which this process has an effect goes through here, so that it can die at any of them, as by
 * kill -9. What only looks is named by who wraps; every other method is an effect, those that are added later too.
 */
export class Boundary {
  #point: CrashPoint | undefined;
  #calls: string[] = [];
  #counts = new Map<string, number>();
  /** Settles when the effect after which it is to die has taken place: never, then. */
  #lastEffect: Promise<unknown> = Promise.resolve();
  readonly #onHeld: () => void;
  #release: () => void = () => {};

  /** `onHeld` is called when it waits at its point. */
  constructor(onHeld: () => void) {
    this.#onHeld = onHeld;
  }

  /**
   * Counts afresh from now on, and dies at the point, if one is given. Resolves when it cannot die at the one before
   * any more.
   */
  async arm(point: CrashPoint | undefined): Promise<void> {
    this.#calls = [];
    this.#counts = new Map();
    this.#point = point;
    await this.#lastEffect;
  }

  /** What waits at its point goes on. */
  release(): void {
    this.#release();
  }

  /** Effects since it was armed, in order. */
  get calls(): readonly string[] {
    return this.#calls;
  }

  wrap<T extends object>(name: string, target: T, looks: readonly (keyof T)[]): T {
    return new Proxy(target, {
      get: (object, property) => {
        const value: unknown = Reflect.get(object, property);
        if (typeof value !== 'function') return value;
        if (looks.includes(property as keyof T)) return value.bind(object);
        return (...args: unknown[]) =>
          this.run(`${name}.${String(property)}${labelOf(args)}`, () => value.apply(object, args));
      },
    });
  }

  async run<T>(call: string, effect: () => T | Promise<T>): Promise<T> {
    const nth = this.#counts.get(call) ?? 0;
    this.#counts.set(call, nth + 1);
    this.#calls.push(call);
    if (this.#isHere(call, nth, 'before')) await this.#reached();
    if (!this.#isHere(call, nth, 'after')) return await effect();
    // Neither the answer nor the failure is heard by anybody who is dead.
    const effected = Promise.resolve().then(effect);
    const reached = (): Promise<void> => this.#reached();
    this.#lastEffect = effected.then(reached, reached);
    await this.#lastEffect;
    return await effected;
  }

  async #reached(): Promise<void> {
    if (this.#point?.holds !== true) return await die();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#release = resolve;
    this.#onHeld();
    await promise;
  }

  #isHere(call: string, nth: number, when: CrashPoint['when']): boolean {
    const point = this.#point;
    return point?.call === call && point.nth === nth && point.when === when;
  }
}

/** Nothing runs after it: not a handler, not a line of this program. */
function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return NEVER;
}

/** What tells calls of one name apart, so that a point is found again whatever the timing: what is written. */
function labelOf(args: readonly unknown[]): string {
  const written = args.length > 1 ? args.at(-1) : undefined;
  if (!isRecord(written) || Object.values(written).some((value) => typeof value === 'function')) return '';
  const { status, reason } = written;
  if (isRecord(status) && typeof status.phase === 'string') return `(${status.phase})`;
  if (typeof reason === 'string') return `(${reason})`;
  const names = Object.keys(written).toSorted();
  return names.length > MOST_NAMES ? '' : `(${names.join(', ')})`;
}

/** What has more members is no patch. */
const MOST_NAMES = 3;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** The client, each write through the boundary as `runners.patch`. */
export function wrapClient(boundary: Boundary, client: KubeClient): KubeClient {
  return new Proxy(client, {
    get: (object, property) => {
      if (property !== 'resources') {
        const value: unknown = Reflect.get(object, property);
        return typeof value === 'function' ? value.bind(object) : value;
      }
      return <T extends KubeObject>(type: ResourceType<T>): Resources<T> =>
        boundary.wrap(type.plural, object.resources(type), ['get', 'list']);
    },
  });
}
