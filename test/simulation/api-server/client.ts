import {
  type Collection,
  type KubeClient,
  type ListPage,
  type ListPageOptions,
  listAllPages,
  type ServerVersion,
  type WatchOptions,
} from '../../../kube/client.ts';
import { ApiUnreachable, isConflict, isNotFound } from '../../../kube/errors.ts';
import type { KubeObject, ObjectRef, ResourceType, Stored } from '../../../kube/object.ts';
import type { Resources } from '../../../kube/resources.ts';
import type { WatchEvent } from '../../../kube/watch.ts';
import type { Life } from '../life.ts';
import type { Timeline } from '../timeline.ts';
import type { Frontend } from './frontend.ts';
import type { Link } from './link.ts';
import { serverError } from './refusals.ts';
import type { WatchStream } from './watch-stream.ts';

/** Bound of a call, as of the real client. */
const TIMEOUT_MS = 10_000;

const unreachable = (reason: ApiUnreachable['reason'], why: string): ApiUnreachable =>
  new ApiUnreachable('https://api', reason, why);

export interface SimClientOptions {
  readonly timeline: Timeline;
  readonly frontend: Frontend;
  readonly link: Link;
  readonly life: Life;
  /** Bound of a call. Default: that of the real client. */
  readonly timeoutMs?: number | undefined;
}

/**
 * A client of the simulated API server. Requests and answers travel, get lost, or arrive after their sender died;
 * every write is an effect of its process.
 */
export class SimClient implements KubeClient {
  readonly server = 'https://api';
  readonly #options: SimClientOptions;

  constructor(options: SimClientOptions) {
    this.#options = options;
  }

  resources<T extends KubeObject>(type: ResourceType<T>): Resources<T> {
    const { kind } = type;
    const by = this.#options.life.id;
    const frontend = this.#options.frontend;
    const collection = this.collection(type);
    const get = async (ref: ObjectRef) =>
      (await this.#request(`get ${kind}`, false, () => frontend.server.get(kind, ref))) as
        | Stored<T>
        | undefined;
    const patch =
      (subresource: 'status' | undefined) =>
      async (ref: ObjectRef, resourceVersion: string, body: object) => {
        const fence = { resourceVersion, ...(subresource && { subresource }) };
        const what = `patch ${kind}${subresource === undefined ? '' : '/status'}`;
        const write = () => frontend.server.patch(by, kind, ref, body, fence);
        return (await this.#request(what, true, write)) as unknown as Stored<T>;
      };
    return {
      get,
      list: (options = {}) => listAllPages(collection, options),
      create: async (object) => {
        const write = () => frontend.server.create(by, object);
        return (await this.#request(`create ${kind}`, true, write)) as unknown as Stored<T>;
      },
      patch: patch(undefined),
      patchStatus: patch('status'),
      delete: async (ref, { uid, resourceVersion } = {}) => {
        try {
          const write = () => frontend.server.delete(by, kind, ref, { uid, resourceVersion });
          return await this.#request(`delete ${kind}`, true, write);
        } catch (error) {
          if (isNotFound(error)) return false;
          if (uid !== undefined && isConflict(error) && (await get(ref))?.metadata.uid !== uid) return false;
          throw error;
        }
      },
    };
  }

  collection<T extends KubeObject>(type: ResourceType<T>): Collection<T> {
    const { frontend } = this.#options;
    return {
      type,
      listPage: async (options: ListPageOptions) =>
        (await this.#request(`list ${type.kind}`, false, () =>
          frontend.listPage(type.kind, options),
        )) as unknown as ListPage<T>,
      watch: (options) => this.#watch(type, options),
    };
  }

  async raw(path: string): Promise<string> {
    return await this.#request(`get ${path}`, false, () => '{"versions":[]}');
  }

  async version(): Promise<ServerVersion> {
    return await this.#request('get /version', false, () => ({
      major: '1',
      minor: '34',
      gitVersion: 'v1.34.0',
    }));
  }

  async close(): Promise<void> {}

  async *#watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>, void> {
    const { frontend, link, life } = this.#options;
    const stopped = unreachable('Stopped', 'the watch was ended');
    let stream: WatchStream | undefined;
    const abort = (): void => stream?.end(stopped);
    options.signal.addEventListener('abort', abort, { once: true });
    const forget = life.onDeath(abort);
    try {
      stream = await this.#request(`watch ${type.kind}`, false, () =>
        frontend.openWatch(type.kind, options, link),
      );
      if (options.signal.aborted) throw stopped;
      options.onContact?.();
      for (let event = await stream.next(); event !== undefined; event = await stream.next()) {
        yield event as WatchEvent<T>;
      }
    } finally {
      options.signal.removeEventListener('abort', abort);
      forget();
      stream?.end(stopped);
    }
  }

  /** Never settles for a process that has died. */
  #request<T>(what: string, isWrite: boolean, run: () => T): Promise<T> {
    const { timeline, life, link, timeoutMs = TIMEOUT_MS } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    if (isWrite ? life.boundary(what, 'before') : life.isDead) return promise;
    const late = timeline.after(timeoutMs, () => {
      if (!life.isDead) reject(unreachable('Timeout', 'no answer in time'));
    });
    const answer = (settle: () => void): void => {
      if (isWrite ? life.boundary(what, 'after') : life.isDead) return;
      timeline.after(link.latencyMs(), () => {
        if (life.isDead || link.passes !== 'both') return;
        late.cancel();
        settle();
      });
    };
    timeline.after(link.latencyMs(), () => this.#arrive(isWrite, run, answer, { resolve, reject }));
    return promise;
  }

  #arrive<T>(
    isWrite: boolean,
    run: () => T,
    answer: (settle: () => void) => void,
    { resolve, reject }: { resolve: (value: T) => void; reject: (error: unknown) => void },
  ): void {
    const { link, frontend } = this.#options;
    if (link.passes === 'none') return;
    if (!frontend.isUp) {
      answer(() => reject(unreachable('Refused', 'connection refused')));
      return;
    }
    const failure = isWrite ? link.failures.shift() : undefined;
    if (failure?.mode === 'refused') {
      answer(() => reject(serverError(failure.code)));
      return;
    }
    try {
      const result = run();
      if (failure === undefined) answer(() => resolve(result));
      else answer(() => reject(unreachable('Reset', 'connection reset')));
    } catch (error) {
      answer(() => reject(error));
    }
  }
}
