import type { KubeObject, Stored } from '../object.ts';
import type { WatchEvent } from '../watch.ts';

/** A small object for tests of the plumbing. */
export interface Thing extends KubeObject {
  apiVersion: 'test.dev/v1';
  kind: 'Thing';
  spec: { value: number };
}

export const THINGS = {
  group: 'test.dev',
  version: 'v1',
  plural: 'things',
  kind: 'Thing',
  namespaced: true,
} as const;

type ThingEvent = Exclude<WatchEvent<Thing>, { type: 'BOOKMARK' }>;

/**
 * One collection as an API server keeps it: state, and the whole history of events by resourceVersion. Every
 * write returns what the server would answer.
 */
export class ModelCollection {
  readonly #objects = new Map<string, Stored<Thing>>();
  readonly #history: { readonly event: ThingEvent; readonly old: Stored<Thing> | undefined }[] = [];
  readonly #selects: (thing: Thing) => boolean;
  #revision = 10;
  #uids = 0;

  /** With a selector, events and lists are those of a client that asked for it. */
  constructor(selects: (thing: Thing) => boolean = () => true) {
    this.#selects = selects;
  }

  get resourceVersion(): string {
    return String(this.#revision);
  }

  /** All events after a position, in order. */
  since(resourceVersion: string): ThingEvent[] {
    return this.#history
      .filter(({ event }) => Number(event.object.metadata.resourceVersion) > Number(resourceVersion))
      .flatMap(({ event, old }) => this.#selected(event, old));
  }

  /** The state as of a resourceVersion; default: now. */
  list(at = this.resourceVersion): Stored<Thing>[] {
    const state = new Map<string, Stored<Thing>>();
    for (const { event } of this.#history) {
      if (Number(event.object.metadata.resourceVersion) > Number(at)) break;
      if (event.type === 'DELETED') state.delete(event.object.metadata.name);
      else state.set(event.object.metadata.name, event.object);
    }
    return [...state.values()].filter(this.#selects).map((object) => structuredClone(object));
  }

  get(name: string): Stored<Thing> | undefined {
    return structuredClone(this.#objects.get(name));
  }

  create(name: string, value = 0, finalizers: string[] = []): Stored<Thing> | undefined {
    if (this.#objects.has(name)) return undefined;
    this.#uids += 1;
    return this.#store('ADDED', {
      apiVersion: 'test.dev/v1',
      kind: 'Thing',
      metadata: {
        name,
        namespace: 'default',
        uid: `uid-${this.#uids}`,
        resourceVersion: '',
        creationTimestamp: '2026-01-01T00:00:00Z',
        finalizers,
      },
      spec: { value },
    });
  }

  modify(name: string, value: number): Stored<Thing> | undefined {
    const old = this.get(name);
    return old === undefined ? undefined : this.#store('MODIFIED', { ...old, spec: { value } });
  }

  /** With finalizers the object only begins to die. */
  delete(name: string): void {
    const old = this.get(name);
    if (old === undefined) return;
    if ((old.metadata.finalizers ?? []).length === 0) this.#remove(old);
    else if (old.metadata.deletionTimestamp === undefined) {
      old.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
      this.#store('MODIFIED', old);
    }
  }

  /** Of a dying object this is the end, and the answer carries the resourceVersion from before it. */
  removeFinalizers(name: string): Stored<Thing> | undefined {
    const old = this.get(name);
    if (old === undefined) return undefined;
    const next = { ...old, metadata: { ...old.metadata, finalizers: [] } };
    if (old.metadata.deletionTimestamp === undefined) return this.#store('MODIFIED', next);
    this.#remove(old);
    return next;
  }

  /** A write to another collection: the revision is the whole server's. */
  elsewhere(): void {
    this.#revision += 1;
  }

  /** An object that comes into the selection is ADDED for its watchers, one that leaves it is DELETED. */
  #selected(event: ThingEvent, old: Stored<Thing> | undefined): ThingEvent[] {
    const before = old !== undefined && this.#selects(old);
    const after = event.type !== 'DELETED' && this.#selects(event.object);
    if (!before && !after) return [];
    const type = after ? (before ? 'MODIFIED' : 'ADDED') : 'DELETED';
    return [structuredClone({ type, object: event.object })];
  }

  #remove(old: Stored<Thing>): void {
    this.#objects.delete(old.metadata.name);
    this.#revision += 1;
    const object = { ...old, metadata: { ...old.metadata, resourceVersion: this.resourceVersion } };
    this.#history.push({ event: { type: 'DELETED', object }, old });
  }

  #store(type: 'ADDED' | 'MODIFIED', object: Stored<Thing>): Stored<Thing> {
    this.#revision += 1;
    const old = this.#objects.get(object.metadata.name);
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: this.resourceVersion } };
    this.#objects.set(object.metadata.name, stored);
    this.#history.push({ event: { type, object: structuredClone(stored) }, old });
    return structuredClone(stored);
  }
}
