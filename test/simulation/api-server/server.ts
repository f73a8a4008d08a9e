import { applyMergePatch, jsonEqual } from '../../../kube/merge-patch.ts';
import type { KubeObject, ObjectRef, Stored } from '../../../kube/object.ts';
import { objectKey } from '../../../kube/paths.ts';
import type { Preconditions } from '../../../kube/resources.ts';
import { BUILT_IN_KINDS, CUSTOM_KINDS, type ServedKind } from './kinds.ts';
import { alreadyExists, conflict, expired, invalid, namespaceNotFound, notFound } from './refusals.ts';
import { conform, type FieldProblem, problemsOf } from './schema.ts';

export type AnyObject = Stored<KubeObject> & { readonly spec?: unknown; readonly status?: unknown };

/** One change of one object. */
export interface Commit {
  readonly revision: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly kind: ServedKind;
  /** As it is now; of a deletion, as it was last, with the resourceVersion of the deletion. */
  readonly object: AnyObject;
  readonly old: AnyObject | undefined;
  /** Who wrote. */
  readonly by: string;
}

interface Shelf {
  readonly kind: ServedKind;
  readonly objects: Map<string, AnyObject>;
  commits: Commit[];
  /** History up to this revision is gone. */
  compacted: number;
}

export interface ApiServerOptions {
  /** The server's wall clock. */
  readonly now: () => number;
  readonly uid: () => string;
  readonly namespaces: readonly string[];
}

/**
 * What an API server keeps and how it judges writes: resourceVersions, optimistic concurrency, generation,
 * finalizers, the status subresource, defaults, pruning and validation by the CRDs' own schemas and rules. The
 * conformance suite beside it holds it to the real one. Objects are shared and frozen.
 */
export class ApiServer {
  /** Told of every commit, in order, before the writer has its answer. */
  readonly observers = new Set<(commit: Commit) => void>();
  readonly #options: ApiServerOptions;
  readonly #shelves = new Map<string, Shelf>();
  #revision = 1000;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    for (const kind of [...CUSTOM_KINDS, ...BUILT_IN_KINDS]) {
      this.#shelves.set(kind.kind, { kind, objects: new Map(), commits: [], compacted: this.#revision });
    }
  }

  get revision(): number {
    return this.#revision;
  }

  kind(name: string): ServedKind {
    return this.#shelf(name).kind;
  }

  get(kind: string, ref: ObjectRef): AnyObject | undefined {
    return this.#shelf(kind).objects.get(objectKey(ref));
  }

  list(kind: string): AnyObject[] {
    return [...this.#shelf(kind).objects.values()].sort(byKey);
  }

  /** The collection as it was at a revision that is not compacted. */
  listAt(kind: string, revision: number): AnyObject[] {
    const objects = new Map(this.#shelf(kind).objects);
    for (const commit of this.#shelf(kind).commits.toReversed()) {
      if (commit.revision <= revision) break;
      const key = objectKey(commit.object.metadata);
      if (commit.old === undefined) objects.delete(key);
      else objects.set(key, commit.old);
    }
    return [...objects.values()].sort(byKey);
  }

  /** Throws 410 where the history since then is not there any more. */
  since(kind: string, revision: number): readonly Commit[] {
    const { commits, compacted } = this.#shelf(kind);
    if (revision < compacted) throw expired();
    return commits.filter((commit) => commit.revision > revision);
  }

  /** Forgets all history. */
  compact(): void {
    for (const shelf of this.#shelves.values()) {
      shelf.commits = [];
      shelf.compacted = this.#revision;
    }
  }

  create(by: string, object: KubeObject): AnyObject {
    const { kind, objects } = this.#shelf(object.kind);
    const { name, namespace } = object.metadata;
    if (kind.namespaced && !this.#options.namespaces.includes(namespace ?? '')) {
      throw namespaceNotFound(namespace ?? '');
    }
    if (objects.has(objectKey(object.metadata))) throw alreadyExists(kind, name);
    const { status: _, ...rest } = object as AnyObject;
    const { labels, annotations, finalizers } = object.metadata;
    const draft = {
      ...(kind.hasStatus ? rest : object),
      metadata: compactMeta({
        ...{ name, namespace, labels, annotations, finalizers },
        uid: this.#options.uid(),
        resourceVersion: '',
        generation: kind.hasGeneration ? 1 : undefined,
        creationTimestamp: seconds(this.#options.now()),
      }),
    } as AnyObject;
    const created = this.#judged(kind, draft, undefined);
    return this.#commit(by, 'ADDED', kind, created, undefined);
  }

  /** A merge patch, of the status alone with `subresource`. Fenced by `resourceVersion` where one is given. */
  patch(
    by: string,
    kindName: string,
    ref: ObjectRef,
    patch: object,
    { resourceVersion, subresource }: { resourceVersion?: string; subresource?: 'status' } = {},
  ): AnyObject {
    const { kind } = this.#shelf(kindName);
    const old = this.get(kindName, ref);
    if (old === undefined) throw notFound(kind, ref.name);
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion) {
      throw conflict(
        kind,
        ref.name,
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    }
    const patched = applyMergePatch(old, patch) as AnyObject;
    const next = subresource === 'status' ? statusUpdate(old, patched) : mainUpdate(kind, old, patched);
    return this.#update(by, kind, old, next);
  }

  /** False: there is none. With finalizers the object only begins to die. */
  delete(
    by: string,
    kindName: string,
    ref: ObjectRef,
    { uid, resourceVersion }: Preconditions = {},
  ): boolean {
    const { kind } = this.#shelf(kindName);
    const old = this.get(kindName, ref);
    if (old === undefined) return false;
    if (uid !== undefined && uid !== old.metadata.uid) {
      throw conflict(
        kind,
        ref.name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
      );
    }
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion) {
      const is = `ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${old.metadata.resourceVersion}`;
      throw conflict(kind, ref.name, `Precondition failed: ${is}`);
    }
    if ((old.metadata.finalizers ?? []).length === 0) this.#remove(by, kind, old);
    else if (old.metadata.deletionTimestamp === undefined) {
      const generation = old.metadata.generation === undefined ? undefined : old.metadata.generation + 1;
      const deletionTimestamp = seconds(this.#options.now());
      const metadata = {
        ...old.metadata,
        ...(generation && { generation }),
        deletionTimestamp,
        deletionGracePeriodSeconds: 0,
      };
      this.#commit(by, 'MODIFIED', kind, { ...old, metadata } as AnyObject, old);
    }
    return true;
  }

  #update(by: string, kind: ServedKind, old: AnyObject, next: AnyObject): AnyObject {
    const judged = this.#judged(kind, next, old);
    if (jsonEqual(judged, old)) return old;
    const isOver =
      old.metadata.deletionTimestamp !== undefined && (judged.metadata.finalizers ?? []).length === 0;
    if (!isOver) return this.#commit(by, 'MODIFIED', kind, judged, old);
    this.#remove(by, kind, old);
    // The answer to the write that ends an object has the resourceVersion from before.
    return freeze(judged);
  }

  #judged(kind: ServedKind, draft: AnyObject, old: AnyObject | undefined): AnyObject {
    const problems: FieldProblem[] = old === undefined ? [] : finalizerProblems(old, draft);
    const { schema } = kind;
    let object = draft;
    if (schema !== undefined) {
      const { apiVersion, kind: name, metadata, ...fields } = draft;
      const kept = conform(schema, { ...fields, apiVersion, kind: name }) as AnyObject;
      object = { ...kept, metadata } as AnyObject;
      // The schema's own word on metadata ends with the name.
      problems.push(...problemsOf(schema, object, old));
    }
    if (problems.length > 0) throw invalid(kind, draft.metadata.name, problems);
    return object;
  }

  #remove(by: string, kind: ServedKind, old: AnyObject): void {
    this.#commit(by, 'DELETED', kind, old, old);
  }

  #commit(
    by: string,
    type: Commit['type'],
    kind: ServedKind,
    object: AnyObject,
    old: AnyObject | undefined,
  ): AnyObject {
    this.#revision += 1;
    const resourceVersion = String(this.#revision);
    const stored = freeze({ ...object, metadata: { ...object.metadata, resourceVersion } } as AnyObject);
    const shelf = this.#shelf(kind.kind);
    const key = objectKey(stored.metadata);
    if (type === 'DELETED') shelf.objects.delete(key);
    else shelf.objects.set(key, stored);
    const commit: Commit = { revision: this.#revision, type, kind, object: stored, old, by };
    shelf.commits.push(commit);
    for (const observer of this.observers) observer(commit);
    return stored;
  }

  #shelf(kind: string): Shelf {
    const shelf = this.#shelves.get(kind);
    if (shelf === undefined) throw new Error(`the simulated API server does not serve ${kind}`);
    return shelf;
  }
}

const byKey = (a: AnyObject, b: AnyObject): number =>
  objectKey(a.metadata) < objectKey(b.metadata) ? -1 : 1;

/** As metav1.Time is written. */
const seconds = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

/** Everything but metadata and status counts as a new generation; the status is not touched. */
function mainUpdate(kind: ServedKind, old: AnyObject, patched: AnyObject): AnyObject {
  const { labels, annotations, finalizers } = patched.metadata;
  const metadata = { ...old.metadata, labels, annotations, finalizers };
  const next = { ...patched, metadata } as AnyObject & { status?: unknown };
  if (kind.hasStatus) {
    if (old.status === undefined) delete next.status;
    else next.status = old.status;
  }
  const isNewSpec = kind.hasGeneration && !jsonEqual(specOf(next, kind), specOf(old, kind));
  const generation = old.metadata.generation;
  if (isNewSpec && generation !== undefined) metadata.generation = generation + 1;
  return { ...next, metadata: compactMeta(metadata) } as AnyObject;
}

function specOf(object: AnyObject, { schema, hasStatus }: ServedKind): object {
  const { metadata: _, status, ...rest } = object;
  const fields = hasStatus ? rest : { ...rest, status };
  return schema === undefined ? fields : (conform(schema, fields) as object);
}

function statusUpdate(old: AnyObject, patched: AnyObject): AnyObject {
  const { status: _, ...rest } = old;
  return (patched.status === undefined ? rest : { ...rest, status: patched.status }) as AnyObject;
}

/** A dying object takes no new finalizers. */
function finalizerProblems(old: AnyObject, next: AnyObject): FieldProblem[] {
  if (old.metadata.deletionTimestamp === undefined) return [];
  const before = new Set(old.metadata.finalizers);
  const added = (next.metadata.finalizers ?? []).filter((name) => !before.has(name));
  if (added.length === 0) return [];
  const message = `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${added.join(', ')}`;
  return [{ field: 'metadata.finalizers', message }];
}

/** Without members that are empty: they are not stored. */
function compactMeta<M extends KubeObject['metadata']>(metadata: M): M {
  const entries = Object.entries(metadata).filter(([, value]) => {
    if (value === undefined) return false;
    return typeof value !== 'object' || Object.keys(value as object).length > 0;
  });
  return Object.fromEntries(entries) as M;
}

function freeze<V>(value: V): V {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) freeze(member);
  return Object.freeze(value);
}
