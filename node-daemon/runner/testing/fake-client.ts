import type { Runner } from '../../../crds/runner.ts';
import type { Template } from '../../../crds/template.ts';
import type { Collection, KubeClient, ListPage, WatchOptions } from '../../../kube/client.ts';
import { ApiUnreachable } from '../../../kube/errors.ts';
import type { KubeObject, ObjectRef, ResourceType, Stored } from '../../../kube/object.ts';
import type { Resources } from '../../../kube/resources.ts';
import type { WatchEvent } from '../../../kube/watch.ts';
import type { FakeRunners } from './fake-runners.ts';

/** What one daemon asks the API server for. */
export type ApiCall = 'get' | 'list' | 'watch' | 'patch' | 'patchStatus' | 'template' | 'secret';

interface Fault {
  readonly call: ApiCall;
  readonly error: Error;
  /** The write takes effect, and only its answer is lost. */
  readonly applied: boolean;
}

interface OpenWatch {
  wake: () => void;
  end: Error | undefined;
}

export const unreachable = (): ApiUnreachable =>
  new ApiUnreachable('https://api', 'Timeout', 'no answer in time');

/** The way to an API server: what gets lost, late or refused on it. */
export class FakeClient implements Pick<KubeClient, 'collection' | 'resources'> {
  readonly runners: FakeRunners;
  readonly templates = new Map<string, Stored<Template>>();
  /** `namespace/name` → key → value. */
  readonly secrets = new Map<string, Record<string, string>>();
  /** Calls that were made, in order. */
  readonly calls: ApiCall[] = [];
  /** While set, nothing gets through. */
  outage: Error | undefined;
  /** While set, watchers see nothing that is later, and lists that need not be fresh are of that time. */
  heldAt: string | undefined;
  #faults: Fault[] = [];
  readonly #watches = new Set<OpenWatch>();

  constructor(runners: FakeRunners) {
    this.runners = runners;
    runners.watchers.add(() => this.flush());
  }

  /** The next `times` calls of the kind fail. */
  fail(call: ApiCall, error: Error, { applied = false, times = 1 } = {}): void {
    for (let left = times; left > 0; left -= 1) this.#faults.push({ call, error, applied });
  }

  /** What was to fail no longer does. */
  heal(): void {
    this.#faults = [];
  }

  /** Watchers see nothing more until {@link release}. */
  hold(): void {
    this.heldAt = this.runners.resourceVersion;
  }

  release(): void {
    this.heldAt = undefined;
    this.flush();
  }

  /** Lets watchers see what was written. */
  flush(): void {
    for (const watch of this.#watches) watch.wake();
  }

  setOutage(error: Error | undefined): void {
    this.outage = error;
    if (error === undefined) return;
    for (const watch of this.#watches) {
      watch.end = error;
      watch.wake();
    }
  }

  collection<T extends KubeObject>(type: ResourceType<T>): Collection<T> {
    const collection: Collection<Runner> = {
      type: type as unknown as ResourceType<Runner>,
      listPage: async (): Promise<ListPage<Runner>> => {
        this.#enter('list');
        const { resourceVersion } = this.runners;
        return { items: this.runners.list(), resourceVersion, continueToken: undefined };
      },
      watch: (options) => this.#watch(options),
    };
    return collection as unknown as Collection<T>;
  }

  resources<T extends KubeObject>(type: ResourceType<T>): Resources<T> {
    if (type.kind === 'Runner') return this.#runnerResources() as unknown as Resources<T>;
    const get = async (ref: ObjectRef): Promise<unknown> => {
      if (type.kind === 'Template') {
        this.#enter('template');
        return this.templates.get(ref.name);
      }
      this.#enter('secret');
      const data = this.secrets.get(`${ref.namespace}/${ref.name}`);
      const encoded = Object.entries(data ?? {}).map(([key, value]) => [
        key,
        Buffer.from(value).toString('base64'),
      ]);
      return data === undefined ? undefined : { data: Object.fromEntries(encoded) };
    };
    return { get } as unknown as Resources<T>;
  }

  #runnerResources(): Pick<Resources<Runner>, 'get' | 'list' | 'patch' | 'patchStatus'> {
    const write =
      (verb: 'patch' | 'patchStatus') =>
      async (ref: ObjectRef, version: string, patch: object): Promise<Stored<Runner>> => {
        const fault = this.#enter(verb);
        const stored = this.runners.write(verb, ref, version, patch);
        if (fault !== undefined) throw fault.error;
        return stored;
      };
    return {
      get: async (ref) => {
        this.#enter('get');
        return this.runners.get(ref);
      },
      list: async () => {
        this.#enter('list');
        return { items: this.runners.list(), resourceVersion: this.runners.resourceVersion };
      },
      patch: write('patch'),
      patchStatus: write('patchStatus'),
    };
  }

  /** Throws what the call is to fail with; returns a fault that takes effect after the write. */
  #enter(call: ApiCall): Fault | undefined {
    this.calls.push(call);
    if (this.outage !== undefined) throw this.outage;
    const fault = this.#faults.find((one) => one.call === call);
    if (fault === undefined) return undefined;
    this.#faults = this.#faults.filter((one) => one !== fault);
    if (!fault.applied) throw fault.error;
    return fault;
  }

  async *#watch(options: WatchOptions): AsyncGenerator<WatchEvent<Runner>, void> {
    this.#enter('watch');
    const watch: OpenWatch = { wake: () => undefined, end: undefined };
    const onAbort = (): void => {
      watch.end = new ApiUnreachable('https://api', 'Stopped', 'aborted');
      watch.wake();
    };
    options.signal.addEventListener('abort', onAbort);
    this.#watches.add(watch);
    const selects = selection(options.fieldSelector);
    try {
      let position = options.resourceVersion ?? this.heldAt ?? this.runners.resourceVersion;
      if (options.initialEvents) {
        for (const object of this.runners.list(position))
          if (selects(object)) yield { type: 'ADDED', object };
        yield { type: 'BOOKMARK', resourceVersion: position, initialEventsEnd: true };
      }
      for (;;) {
        if (watch.end !== undefined) throw watch.end;
        const [event] = this.runners.since(position, selects);
        const version = event?.object.metadata.resourceVersion;
        if (
          event === undefined ||
          version === undefined ||
          Number(version) > Number(this.heldAt ?? version)
        ) {
          await new Promise<void>((resolve) => {
            watch.wake = resolve;
          });
          continue;
        }
        position = version;
        options.onContact?.();
        yield event;
      }
    } finally {
      options.signal.removeEventListener('abort', onAbort);
      this.#watches.delete(watch);
    }
  }
}

function selection(fieldSelector: string | undefined): (runner: Runner) => boolean {
  const host = /^spec\.binding\.hostName=(.*)$/.exec(fieldSelector ?? '')?.[1];
  return (runner) => host === undefined || runner.spec.binding?.hostName === host;
}
