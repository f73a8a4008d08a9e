import type { KubeObject, ObjectRef, Stored } from './object.ts';
import { objectKey } from './paths.ts';
import { compareResourceVersions } from './resource-version.ts';

/** Values under which an object is found in an index. */
export type IndexFunction<T extends KubeObject> = (object: Stored<T>) => readonly string[];

/** One difference that a store went through. */
export type Change<T extends KubeObject> =
  | { readonly type: 'added'; readonly object: Stored<T> }
  | { readonly type: 'updated'; readonly old: Stored<T>; readonly object: Stored<T> }
  | { readonly type: 'deleted'; readonly object: Stored<T> };

/** What readers see of a store. Objects are frozen: copy before changing. */
export interface StoreView<T extends KubeObject, I extends string = never> {
  readonly size: number;
  get(ref: ObjectRef): Stored<T> | undefined;
  /** All objects, or those of one namespace; in no order. */
  list(namespace?: string): Stored<T>[];
  /** Objects that the index filed under `value`; in no order. */
  by(index: I, value: string): Stored<T>[];
}

/**
 * The state of one collection, as of one position (resourceVersion) of its watch, overlaid with what was
 * learned ahead of it from the answers to one's own writes.
 *
 * The rules, for resourceVersions that compare (others are never learned):
 * - What is learned at or before the position is already reflected, deletions included: it is ignored.
 * - What is learned after it counts at once and is held until the position passes it. No older event
 *   overwrites it.
 * - When the position passes it and no event has told of it, it was deleted or never selected: it goes.
 */
export class ObjectStore<T extends KubeObject, I extends string = never> implements StoreView<T, I> {
  readonly #objects = new Map<string, Stored<T>>();
  readonly #indexes: ReadonlyMap<string, Index<T>>;
  /** Keys of learned objects that the position has not passed yet. */
  readonly #ahead = new Map<string, string>();
  /**
   * UIDs whose last write was seen to delete them, until the watch or a list says so, too. The answer to that
   * write carries the resourceVersion from before the deletion.
   */
  readonly #gone = new Map<string, { readonly before: string; readonly wasStored: boolean }>();
  #position: string | undefined;

  constructor(indexes?: Readonly<Record<I, IndexFunction<T>>>) {
    const entries = Object.entries<IndexFunction<T>>(indexes ?? {});
    this.#indexes = new Map(entries.map(([name, valuesOf]) => [name, new Index(valuesOf)]));
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The resourceVersion up to which the collection's history is reflected; undefined before the first list. */
  get position(): string | undefined {
    return this.#position;
  }

  get(ref: ObjectRef): Stored<T> | undefined {
    return this.#objects.get(objectKey(ref));
  }

  list(namespace?: string): Stored<T>[] {
    const all = [...this.#objects.values()];
    return namespace === undefined ? all : all.filter((object) => object.metadata.namespace === namespace);
  }

  by(index: I, value: string): Stored<T>[] {
    const found = this.#indexes.get(index);
    if (found === undefined) throw new TypeError(`no index named ${index}`);
    return found.get(value);
  }

  /** A complete list as of `resourceVersion`. Deletions come first, so that a re-created object is deleted, then added. */
  replace(items: readonly Stored<T>[], resourceVersion: string): Change<T>[] {
    if (this.#isBeforePosition(resourceVersion)) {
      // The history itself went back, as when etcd is restored from a backup: nothing known before counts.
      this.#ahead.clear();
      this.#gone.clear();
    }
    const listed = new Map<string, Stored<T>>();
    const listedUids = new Set(items.map((item) => item.metadata.uid));
    for (const [uid, { before }] of this.#gone) {
      const tooOld = (compareResourceVersions(before, resourceVersion) ?? 0) > 0;
      if (!listedUids.has(uid) && !tooOld) this.#gone.delete(uid);
    }
    for (const item of items) {
      if (!this.#gone.has(item.metadata.uid)) listed.set(objectKey(item.metadata), prepare(item));
    }
    const deletions: Change<T>[] = [];
    const rest: Change<T>[] = [];
    for (const [key, old] of this.#objects) {
      if (this.#isAhead(key, resourceVersion)) continue;
      if (listed.get(key)?.metadata.uid !== old.metadata.uid) deletions.push(...this.#remove(key));
    }
    for (const [key, item] of listed) {
      if (this.#isAhead(key, resourceVersion)) continue;
      rest.push(...this.#put(key, item));
      this.#ahead.delete(key);
    }
    this.#position = resourceVersion;
    return [...deletions, ...rest, ...this.#settle()];
  }

  /** An event of the watch. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: Stored<T>): Change<T>[] {
    const key = objectKey(object.metadata);
    const changes: Change<T>[] = [];
    const stored = this.#objects.get(key);
    const older =
      stored !== undefined &&
      (compareResourceVersions(object.metadata.resourceVersion, stored.metadata.resourceVersion) ?? 0) < 0;
    if (type === 'DELETED') {
      this.#gone.delete(object.metadata.uid);
      if (!older && stored?.metadata.uid === object.metadata.uid) {
        changes.push(...this.#remove(key, prepare(object)));
      }
    } else if (!older && !this.#gone.has(object.metadata.uid)) {
      if (stored !== undefined && stored.metadata.uid !== object.metadata.uid) {
        changes.push(...this.#remove(key));
      }
      changes.push(...this.#put(key, prepare(object)));
      this.#ahead.delete(key);
    }
    return [...changes, ...this.bookmark(object.metadata.resourceVersion)];
  }

  /** The watch has shown everything up to `resourceVersion`. */
  bookmark(resourceVersion: string): Change<T>[] {
    if (!this.#isBeforePosition(resourceVersion)) this.#position = resourceVersion;
    return this.#settle();
  }

  /** The answer to a write of one's own, ahead of the watch. */
  learn(object: Stored<T>): Change<T>[] {
    const { uid, resourceVersion } = object.metadata;
    if (compareResourceVersions(resourceVersion, this.#position ?? '0') === undefined) return [];
    const key = objectKey(object.metadata);
    const stored = this.#objects.get(key);
    if (isDeletion(object)) return this.#learnDeletion(key, object, stored);
    if (this.#gone.has(uid) || !this.#isAfterPosition(resourceVersion)) return [];
    if (
      stored !== undefined &&
      (compareResourceVersions(resourceVersion, stored.metadata.resourceVersion) ?? 0) <= 0
    ) {
      return [];
    }
    const changes = stored !== undefined && stored.metadata.uid !== uid ? this.#remove(key) : [];
    changes.push(...this.#put(key, prepare(object)));
    this.#ahead.set(key, resourceVersion);
    return changes;
  }

  #learnDeletion(key: string, object: Stored<T>, stored: Stored<T> | undefined): Change<T>[] {
    const { uid, resourceVersion } = object.metadata;
    const wasStored = stored?.metadata.uid === uid;
    if (wasStored || this.#isAfterPosition(resourceVersion)) {
      this.#gone.set(uid, { before: resourceVersion, wasStored });
    }
    return wasStored ? this.#remove(key, prepare(object)) : [];
  }

  #isBeforePosition(resourceVersion: string): boolean {
    return (compareResourceVersions(resourceVersion, this.#position ?? '0') ?? 0) < 0;
  }

  #isAfterPosition(resourceVersion: string): boolean {
    return (
      this.#position === undefined || (compareResourceVersions(resourceVersion, this.#position) ?? 0) > 0
    );
  }

  #isAhead(key: string, resourceVersion: string): boolean {
    const learned = this.#ahead.get(key);
    return learned !== undefined && (compareResourceVersions(learned, resourceVersion) ?? -1) > 0;
  }

  /** Lets go of what the position has passed. */
  #settle(): Change<T>[] {
    const changes: Change<T>[] = [];
    for (const [uid, { before, wasStored }] of this.#gone) {
      // Never shown here and passed: it is not selected, and nothing will tell of its end.
      if (!wasStored && this.#isBeforePosition(before)) this.#gone.delete(uid);
    }
    for (const [key, learnedAt] of this.#ahead) {
      if (!this.#isAfterPosition(learnedAt)) changes.push(...this.#remove(key));
    }
    return changes;
  }

  #put(key: string, object: Stored<T>): Change<T>[] {
    const old = this.#objects.get(key);
    if (old !== undefined && old.metadata.resourceVersion === object.metadata.resourceVersion) return [];
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) index.put(key, object);
    return [old === undefined ? { type: 'added', object } : { type: 'updated', old, object }];
  }

  /** `last` is the state in which the object was deleted, where that is known. */
  #remove(key: string, last?: Stored<T>): Change<T>[] {
    const old = this.#objects.get(key);
    this.#ahead.delete(key);
    if (old === undefined) return [];
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) index.remove(key);
    return [{ type: 'deleted', object: last ?? old }];
  }
}

/** Objects by the values that a function gives them. */
class Index<T extends KubeObject> {
  readonly #valuesOf: IndexFunction<T>;
  readonly #byValue = new Map<string, Map<string, Stored<T>>>();
  readonly #valuesByKey = new Map<string, readonly string[]>();

  constructor(valuesOf: IndexFunction<T>) {
    this.#valuesOf = valuesOf;
  }

  get(value: string): Stored<T>[] {
    return [...(this.#byValue.get(value)?.values() ?? [])];
  }

  put(key: string, object: Stored<T>): void {
    this.remove(key);
    const values = this.#valuesOf(object);
    this.#valuesByKey.set(key, values);
    for (const value of values) {
      const bucket = this.#byValue.get(value) ?? new Map<string, Stored<T>>();
      bucket.set(key, object);
      this.#byValue.set(value, bucket);
    }
  }

  remove(key: string): void {
    for (const value of this.#valuesByKey.get(key) ?? []) {
      const bucket = this.#byValue.get(value);
      bucket?.delete(key);
      if (bucket?.size === 0) this.#byValue.delete(value);
    }
    this.#valuesByKey.delete(key);
  }
}

/** A dying object without finalizers and without a grace period: the write that it answers has deleted it. */
function isDeletion(object: KubeObject): boolean {
  const metadata: KubeObject['metadata'] & { deletionGracePeriodSeconds?: number } = object.metadata;
  return (
    metadata.deletionTimestamp !== undefined &&
    (metadata.finalizers ?? []).length === 0 &&
    (metadata.deletionGracePeriodSeconds ?? 0) === 0
  );
}

/** Without managedFields, which nobody here reads and which may be half of an object; frozen all the way down. */
function prepare<T extends KubeObject>(object: Stored<T>): Stored<T> {
  if (Object.isFrozen(object)) return object;
  if (!('managedFields' in object.metadata)) return deepFreeze(object);
  const { managedFields: _, ...metadata } = object.metadata;
  return deepFreeze({ ...object, metadata } as Stored<T>);
}

function deepFreeze<V>(value: V): V {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}
