import type { Collection, ListPage, ListPageOptions, WatchOptions } from '../client.ts';
import { ApiError, ApiUnreachable } from '../errors.ts';
import type { Stored } from '../object.ts';
import type { WatchEvent } from '../watch.ts';
import { ModelCollection, THINGS, type Thing } from './model-collection.ts';

interface OpenWatch {
  position: string;
  /** Wakes the stream to look for events. */
  wake: () => void;
  end: Error | 'clean' | undefined;
}

/** A collection as the client shows it, over a model server whose connections fail as a test wants. */
export class FakeCollection implements Collection<Thing> {
  readonly type = THINGS;
  readonly server: ModelCollection;
  /** What was asked, in order. */
  readonly requests: string[] = [];
  /** Every request fails with it while it is set. */
  outage: Error | undefined;
  /** `refused`: 422. `ignored`: the closing bookmark never comes, and the stream ends; `held`: it stays open. */
  streamingLists: 'served' | 'refused' | 'ignored' | 'held' = 'served';
  /** Positions before it are answered 410. */
  compactedBefore = '0';
  /** Connections stay open and nothing comes through. */
  silent = false;
  readonly #watches = new Set<OpenWatch>();

  constructor(selects?: (thing: Thing) => boolean) {
    this.server = new ModelCollection(selects);
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  /** Lets watchers see what was written. */
  flush(): void {
    for (const watch of this.#watches) watch.wake();
  }

  /** Ends all watches: broken, or as a server does whose time is over. */
  cut(end: Error | 'clean' = new ApiUnreachable('https://api', 'Reset', 'connection reset')): void {
    for (const watch of this.#watches) {
      watch.end = end;
      watch.wake();
    }
  }

  listPage(options: ListPageOptions): Promise<ListPage<Thing>> {
    this.requests.push('list');
    if (this.outage !== undefined) return Promise.reject(this.outage);
    const start = Number(options.continueToken ?? 0);
    const all = this.server.list();
    const next = start + 2;
    return Promise.resolve({
      items: all.slice(start, next),
      resourceVersion: this.server.resourceVersion,
      continueToken: next < all.length ? String(next) : undefined,
    });
  }

  async *watch(options: WatchOptions): AsyncGenerator<WatchEvent<Thing>, void> {
    this.requests.push(options.initialEvents ? 'stream' : `watch ${options.resourceVersion}`);
    if (this.outage !== undefined) throw this.outage;
    options.onContact?.();
    const watch: OpenWatch = {
      position: options.resourceVersion ?? '',
      wake: () => undefined,
      end: undefined,
    };
    const onAbort = () => {
      watch.end = new ApiUnreachable('https://api', 'Stopped', 'aborted');
      watch.wake();
    };
    options.signal.addEventListener('abort', onAbort);
    this.#watches.add(watch);
    try {
      if (options.initialEvents) {
        for (const object of this.#initial(watch)) yield { type: 'ADDED', object };
        if (this.streamingLists === 'ignored') return;
        while (this.streamingLists === 'held' && watch.end === undefined) await woken(watch);
        if (watch.end === undefined) {
          yield { type: 'BOOKMARK', resourceVersion: watch.position, initialEventsEnd: true };
        }
      } else if (Number(watch.position) < Number(this.compactedBefore)) {
        throw new ApiError(410, 'Expired', 'too old resource version');
      }
      yield* this.#follow(watch, options);
    } finally {
      options.signal.removeEventListener('abort', onAbort);
      this.#watches.delete(watch);
    }
  }

  #initial(watch: OpenWatch): Stored<Thing>[] {
    if (this.streamingLists === 'refused')
      throw new ApiError(422, 'Invalid', 'sendInitialEvents is forbidden');
    watch.position = this.server.resourceVersion;
    return this.server.list();
  }

  async *#follow(watch: OpenWatch, options: WatchOptions): AsyncGenerator<WatchEvent<Thing>, void> {
    for (;;) {
      if (watch.end === 'clean') return;
      if (watch.end !== undefined) throw watch.end;
      const [event] = this.silent ? [] : this.server.since(watch.position);
      if (event === undefined) {
        await woken(watch);
        continue;
      }
      watch.position = event.object.metadata.resourceVersion;
      options.onContact?.();
      yield event;
    }
  }
}

const woken = (watch: OpenWatch): Promise<void> =>
  new Promise((resolve) => {
    watch.wake = resolve;
  });
