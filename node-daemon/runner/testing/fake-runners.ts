import { finalizerName } from '../../../crds/meta.ts';
import type { Runner, RunnerSpec } from '../../../crds/runner.ts';
import { ApiError } from '../../../kube/errors.ts';
import { applyMergePatch } from '../../../kube/merge-patch.ts';
import type { ObjectRef, Stored } from '../../../kube/object.ts';
import { objectKey } from '../../../kube/paths.ts';
import type { WatchEvent } from '../../../kube/watch.ts';

type RunnerEvent = Exclude<WatchEvent<Runner>, { type: 'BOOKMARK' }>;

interface Entry {
  readonly event: RunnerEvent;
  readonly old: Stored<Runner> | undefined;
}

/** One write that was carried out. */
export interface Write {
  readonly by: 'daemon' | 'world';
  readonly verb: 'create' | 'patch' | 'patchStatus' | 'delete';
  readonly uid: string;
}

export const NAMESPACE = 'ci';

/**
 * The Runners of an API server: state, history, resourceVersions, finalizers and the status subresource as a
 * real one keeps them. It outlives daemons. Validation is the real one's and is not imitated.
 */
export class FakeRunners {
  readonly writes: Write[] = [];
  /** Called after each change. */
  readonly watchers = new Set<() => void>();
  /** Called before a write of a daemon is carried out, with what would be stored. */
  readonly guards: ((next: Stored<Runner>, old: Stored<Runner>) => void)[] = [];
  readonly #objects = new Map<string, Stored<Runner>>();
  readonly #history: Entry[] = [];
  readonly #now: () => number;
  #revision = 100;
  #uids = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  get resourceVersion(): string {
    return String(this.#revision);
  }

  get(ref: ObjectRef): Stored<Runner> | undefined {
    return structuredClone(this.#objects.get(objectKey(ref)));
  }

  byUid(uid: string): Stored<Runner> | undefined {
    return this.list().find(({ metadata }) => metadata.uid === uid);
  }

  /** The state as of a resourceVersion; default: now. */
  list(at = this.resourceVersion): Stored<Runner>[] {
    const state = new Map<string, Stored<Runner>>();
    for (const { event } of this.#history) {
      if (Number(event.object.metadata.resourceVersion) > Number(at)) break;
      const key = objectKey(event.object.metadata);
      if (event.type === 'DELETED') state.delete(key);
      else state.set(key, event.object);
    }
    return [...state.values()].map((object) => structuredClone(object));
  }

  /** Events after a position for those who select what `selects` says, in order. */
  since(resourceVersion: string, selects: (runner: Runner) => boolean): RunnerEvent[] {
    return this.#history
      .filter(({ event }) => Number(event.object.metadata.resourceVersion) > Number(resourceVersion))
      .flatMap((entry) => selected(entry, selects));
  }

  create(name: string, spec: Partial<RunnerSpec> = {}): Stored<Runner> {
    this.#uids += 1;
    return this.#store('world', 'create', undefined, {
      apiVersion: 'shoesvz.dev/v1alpha1',
      kind: 'Runner',
      metadata: {
        name,
        namespace: NAMESPACE,
        uid: `uid-${this.#uids}`,
        resourceVersion: '',
        generation: 1,
        creationTimestamp: new Date(this.#now()).toISOString(),
      },
      spec: {
        templateName: 'debian',
        completion: 'Never',
        startAttempts: 1,
        setupScript: { inline: 'true' },
        ...spec,
      },
      status: { phase: 'Pending', observedGeneration: -1 },
    });
  }

  /** Line 2 of the binding protocol: binding and finalizer in one write. */
  bind(name: string, host: { name: string; uid: string }, templateDigest: string): Stored<Runner> {
    const old = this.#present(name);
    const attempt = (old.spec.binding?.attempt ?? 0) + 1;
    const finalizer = finalizerName(host.name, attempt);
    return this.patch(name, {
      metadata: { finalizers: [...(old.metadata.finalizers ?? []), finalizer] },
      spec: {
        binding: {
          hostName: host.name,
          hostUID: host.uid,
          attempt,
          resources: { cpu: 1, memory: '512Mi', disk: '1Gi' },
          templateDigest,
        },
      },
    });
  }

  /** A write of somebody else to object or status, unfenced. */
  patch(name: string, patch: object): Stored<Runner> {
    const old = this.#present(name);
    return this.#carryOut('world', 'patch', old, applyMergePatch(old, patch) as Stored<Runner>);
  }

  /** A write of a daemon: what the client sends. */
  write(
    verb: 'patch' | 'patchStatus',
    ref: ObjectRef,
    resourceVersion: string,
    patch: object,
  ): Stored<Runner> {
    const old = this.#objects.get(objectKey(ref));
    if (old === undefined) throw notFound(ref.name);
    if (old.metadata.resourceVersion !== resourceVersion) {
      throw new ApiError(409, 'Conflict', 'the object has been modified');
    }
    const next = applyMergePatch(old, patch) as Stored<Runner>;
    const kept = verb === 'patch' ? { ...next, status: old.status } : { ...old, status: next.status };
    for (const guard of this.guards) guard(kept, old);
    return this.#carryOut('daemon', verb, old, kept);
  }

  /** With finalizers the object only begins to die. */
  delete(name: string): void {
    const old = this.#present(name);
    if ((old.metadata.finalizers ?? []).length === 0) this.#remove('world', old);
    else if (old.metadata.deletionTimestamp === undefined) {
      const deletionTimestamp = new Date(this.#now()).toISOString();
      this.#store('world', 'delete', old, { ...old, metadata: { ...old.metadata, deletionTimestamp } });
    }
  }

  #present(name: string): Stored<Runner> {
    const object = this.#objects.get(objectKey({ namespace: NAMESPACE, name }));
    if (object === undefined) throw new Error(`there is no Runner ${name}`);
    return object;
  }

  #carryOut(by: Write['by'], verb: Write['verb'], old: Stored<Runner>, next: Stored<Runner>): Stored<Runner> {
    const dying = next.metadata.deletionTimestamp !== undefined;
    if (dying && (next.metadata.finalizers ?? []).length === 0) {
      this.#remove(by, old);
      // The answer to the write that ends an object carries the resourceVersion from before.
      return structuredClone({ ...next, metadata: { ...next.metadata, finalizers: undefined } });
    }
    const generation = (old.metadata.generation ?? 0) + (same(old.spec, next.spec) ? 0 : 1);
    return this.#store(by, verb, old, { ...next, metadata: { ...next.metadata, generation } });
  }

  #remove(by: Write['by'], old: Stored<Runner>): void {
    this.#objects.delete(objectKey(old.metadata));
    this.#revision += 1;
    this.writes.push({ by, verb: 'delete', uid: old.metadata.uid });
    const object = { ...old, metadata: { ...old.metadata, resourceVersion: this.resourceVersion } };
    this.#record({ event: { type: 'DELETED', object }, old });
  }

  #store(
    by: Write['by'],
    verb: Write['verb'],
    old: Stored<Runner> | undefined,
    object: Stored<Runner>,
  ): Stored<Runner> {
    if (old !== undefined && same(old, object)) return structuredClone(old);
    this.#revision += 1;
    const metadata = { ...object.metadata, resourceVersion: this.resourceVersion };
    const stored = structuredClone({ ...object, metadata });
    this.#objects.set(objectKey(metadata), stored);
    this.writes.push({ by, verb, uid: metadata.uid });
    this.#record({ event: { type: old === undefined ? 'ADDED' : 'MODIFIED', object: stored }, old });
    return structuredClone(stored);
  }

  #record(entry: Entry): void {
    this.#history.push(entry);
    for (const watcher of this.watchers) watcher();
  }
}

export const notFound = (name: string): ApiError =>
  new ApiError(404, 'NotFound', `runners.shoesvz.dev "${name}" not found`, { name, kind: 'runners' });

/** An object that comes into the selection is ADDED for its watchers, one that leaves it is DELETED as it was. */
function selected({ event, old }: Entry, selects: (runner: Runner) => boolean): RunnerEvent[] {
  const before = old !== undefined && selects(old);
  const after = event.type !== 'DELETED' && selects(event.object);
  if (!before && !after) return [];
  if (after) return [structuredClone({ type: before ? 'MODIFIED' : 'ADDED', object: event.object })];
  const { resourceVersion } = event.object.metadata;
  const last = { ...(old as Stored<Runner>), metadata: { ...old?.metadata, resourceVersion } };
  return [structuredClone({ type: 'DELETED', object: last as Stored<Runner> })];
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
