import type { Timer } from '../../../kube/clock.ts';
import { ApiUnreachable } from '../../../kube/errors.ts';
import type { KubeObject, Stored } from '../../../kube/object.ts';
import type { WatchEvent } from '../../../kube/watch.ts';
import type { Timeline } from '../timeline.ts';
import type { Link } from './link.ts';
import type { AnyObject, Commit } from './server.ts';

type Event = WatchEvent<KubeObject>;

export interface WatchStreamOptions {
  readonly timeline: Timeline;
  readonly link: Link;
  readonly selects: (object: KubeObject) => boolean;
  readonly revision: () => number;
  readonly timeoutSeconds: number;
  /** How long the cache that serves it takes to catch up, in milliseconds. */
  readonly behindMs: number;
  readonly bookmarkEveryMs: number;
  readonly onContact: (() => void) | undefined;
  readonly onClose: () => void;
}

/** One watch: events on their way to a client, in order, each after its delay. */
export class WatchStream {
  readonly #options: WatchStreamOptions;
  readonly #arrived: Event[] = [];
  /** Under way when the link was cut. */
  readonly #held: Event[] = [];
  readonly #timers = new Set<Timer>();
  readonly #unsubscribe: () => void;
  #lastDue = 0;
  #end: Error | 'clean' | undefined;
  #wake: (() => void) | undefined;

  constructor(options: WatchStreamOptions) {
    this.#options = options;
    this.#lastDue = options.timeline.now + options.behindMs;
    this.#unsubscribe = options.link.onHeal(() => this.#healed());
    this.#after(options.timeoutSeconds * 1_000, () => this.end('clean'));
    this.#bookmarkLater();
  }

  /** A change of the collection: told as it looks through the selection. */
  offer(commit: Commit): void {
    const event = seen(commit, this.#options.selects);
    if (event !== undefined) this.send(event);
  }

  send(event: Event): void {
    const { timeline, link } = this.#options;
    this.#lastDue = Math.max(this.#lastDue, timeline.now + link.watchDelayMs());
    timeline.at(this.#lastDue, () => this.#arrive(event));
  }

  /** Nothing more is heard: broken, or as a server ends it whose time is over. */
  end(how: Error | 'clean'): void {
    if (this.#end !== undefined) return;
    this.#end = how;
    for (const timer of this.#timers) timer.cancel();
    this.#unsubscribe();
    this.#options.onClose();
    this.#wake?.();
  }

  /** The next event; undefined at a clean end. Throws at another. */
  async next(): Promise<Event | undefined> {
    for (;;) {
      const event = this.#arrived.shift();
      if (event !== undefined) return event;
      if (this.#end === 'clean') return undefined;
      if (this.#end !== undefined) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #arrive(event: Event): void {
    if (this.#end !== undefined) return;
    if (this.#options.link.passes !== 'both') {
      this.#held.push(event);
      return;
    }
    this.#arrived.push(event);
    this.#options.onContact?.();
    this.#wake?.();
  }

  #healed(): void {
    if (!this.#options.link.survivesCut()) {
      this.end(new ApiUnreachable('https://api', 'Reset', 'connection reset'));
      return;
    }
    for (const event of this.#held.splice(0)) this.#arrive(event);
  }

  #bookmarkLater(): void {
    this.#after(this.#options.bookmarkEveryMs, () => {
      this.send({
        type: 'BOOKMARK',
        resourceVersion: String(this.#options.revision()),
        initialEventsEnd: false,
      });
      this.#bookmarkLater();
    });
  }

  #after(ms: number, run: () => void): void {
    const timer = this.#options.timeline.after(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }
}

/** What comes into the selection is ADDED for its watchers; what leaves it is DELETED, as it was last seen. */
function seen({ type, object, old }: Commit, selects: (object: KubeObject) => boolean): Event | undefined {
  const before = old !== undefined && selects(old);
  const after = type !== 'DELETED' && selects(object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', object };
  if (!before || old === undefined) return undefined;
  return { type: 'DELETED', object: withVersion(old, object.metadata.resourceVersion) };
}

const withVersion = (object: AnyObject, resourceVersion: string): Stored<KubeObject> => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion },
});
