import type { KubeClient } from './client.ts';
import { type Clock, systemClock } from './clock.ts';
import type { KubeObject, ResourceType, Stored } from './object.ts';
import { Reflector } from './reflector.ts';
import { type Change, type IndexFunction, ObjectStore, type StoreView } from './store.ts';

/** Called synchronously, after the store holds the whole change. They must not throw. */
export interface InformerHandlers<T extends KubeObject> {
  readonly added?: (object: Stored<T>) => void;
  readonly updated?: (old: Stored<T>, object: Stored<T>) => void;
  /** With the last state known. An object of the same name and another UID is deleted, then added. */
  readonly deleted?: (object: Stored<T>) => void;
}

/** Why an informer is behind. It goes on trying by itself. */
export interface InformerProblem {
  readonly error: Error;
  /** Since the last success. */
  readonly failures: number;
  readonly retryInMs: number;
}

export interface InformerOptions<T extends KubeObject, I extends string> {
  readonly client: Pick<KubeClient, 'collection'>;
  readonly type: ResourceType<T>;
  /** Default: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly indexes?: Readonly<Record<I, IndexFunction<T>>> | undefined;
  readonly onProblem?: ((problem: InformerProblem) => void) | undefined;
  /** How long a watch may be silent. Default: 90 s; servers send a bookmark every minute. */
  readonly silenceMs?: number | undefined;
  /** False: list in pages even where the server can stream. Default: true. */
  readonly streamingLists?: boolean | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
}

const DEFAULT_SILENCE_MS = 90_000;

/**
 * A local copy of one collection that follows the API server and tells what changed. It is never blind: it
 * resumes where it was after whatever breaks, notices connections that died silently, and lists anew when its
 * position has expired. Between an event and its handlers lies nothing but a call.
 */
export class Informer<T extends KubeObject, I extends string = never> {
  readonly #store: ObjectStore<T, I>;
  readonly #reflector: Reflector<T>;
  readonly #clock: Clock;
  readonly #handlers = new Set<InformerHandlers<T>>();
  readonly #stop = new AbortController();
  readonly #syncing = Promise.withResolvers<void>();
  readonly #onProblem: ((problem: InformerProblem) => void) | undefined;
  #running: Promise<void> | undefined;
  #isSynced = false;
  #lastContact: number | undefined;
  #problem: InformerProblem | undefined;

  constructor(options: InformerOptions<T, I>) {
    this.#clock = options.clock ?? systemClock;
    this.#store = new ObjectStore(options.indexes);
    this.#onProblem = options.onProblem;
    // Whoever awaits it gets the rejection; that nobody does is no error.
    this.#syncing.promise.catch(() => undefined);
    this.#reflector = new Reflector(
      {
        collection: options.client.collection(options.type),
        namespace: options.namespace,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        clock: this.#clock,
        random: options.random ?? Math.random,
        silenceMs: options.silenceMs ?? DEFAULT_SILENCE_MS,
        streamingLists: options.streamingLists ?? true,
      },
      {
        // A list anew takes its time with many objects: what it shows to have changed counts at once.
        listed: (object) => {
          if (this.#isSynced) this.#changed(this.#store.learn(object));
        },
        replace: (items, resourceVersion) => this.#replaced(this.#store.replace(items, resourceVersion)),
        apply: (event) => {
          this.#problem = undefined;
          this.#changed(
            event.type === 'BOOKMARK'
              ? this.#store.bookmark(event.resourceVersion)
              : this.#store.apply(event.type, event.object),
          );
        },
        contact: () => {
          this.#lastContact = this.#clock.monotonic();
        },
        problem: (error, failures, retryInMs) => {
          this.#problem = { error, failures, retryInMs };
          this.#onProblem?.(this.#problem);
        },
      },
    );
  }

  get store(): StoreView<T, I> {
    return this.#store;
  }

  /** Whether the store has held a complete list. It stays true through later interruptions. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Resolves once {@link isSynced}; rejects when stopped before. */
  get synced(): Promise<void> {
    return this.#syncing.promise;
  }

  /** When the API server was last heard from here, on the monotonic clock; undefined before it ever was. */
  get lastContact(): number | undefined {
    return this.#lastContact;
  }

  /** What keeps the informer from following now; undefined while it follows. */
  get problem(): InformerProblem | undefined {
    return this.#problem;
  }

  /** The position reached in the collection's history. */
  get resourceVersion(): string | undefined {
    return this.#store.position;
  }

  /**
   * Adds handlers and calls `added` at once for everything already in the store. Returns what removes them.
   */
  on(handlers: InformerHandlers<T>): () => void {
    this.#handlers.add(handlers);
    for (const object of this.#store.list()) handlers.added?.(object);
    return () => {
      this.#handlers.delete(handlers);
    };
  }

  /**
   * Puts the answer to a write of one's own into the store at once, if it is newer than what is there; handlers
   * are called. Only for objects that the selectors select. The object is frozen.
   */
  learn(object: Stored<T>): void {
    this.#changed(this.#store.learn(object));
  }

  /** Begins to follow. Calling it again does nothing. */
  start(): void {
    if (!this.#stop.signal.aborted) this.#running ??= this.#reflector.run(this.#stop.signal);
  }

  /** Resolves when the connection is closed and nothing more will be called. Final. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#handlers.clear();
    this.#syncing.reject(new Error('the informer was stopped before it had synced'));
    await this.#running;
  }

  #replaced(changes: readonly Change<T>[]): void {
    this.#isSynced = true;
    this.#problem = undefined;
    this.#changed(changes);
    this.#syncing.resolve();
  }

  #changed(changes: readonly Change<T>[]): void {
    for (const change of changes) {
      for (const handlers of [...this.#handlers]) notify(handlers, change);
    }
  }
}

/** A handler that throws is a bug: it is reported as one, and neither the store nor other handlers suffer. */
function notify<T extends KubeObject>(handlers: InformerHandlers<T>, change: Change<T>): void {
  try {
    if (change.type === 'added') handlers.added?.(change.object);
    else if (change.type === 'updated') handlers.updated?.(change.old, change.object);
    else handlers.deleted?.(change.object);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
