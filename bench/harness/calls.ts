import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';

/** One request to the API server; times are of `performance.now()`. */
export interface Call {
  readonly who: string;
  readonly verb: 'get' | 'create' | 'patch' | 'patchStatus' | 'delete';
  readonly kind: string;
  readonly name: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** What several clients asked, in the order of the answers. */
export class CallLog {
  readonly #calls: Call[] = [];

  /** The same client, its requests written down. */
  traced(who: string, client: KubeClient): KubeClient {
    return { ...client, resources: (type) => this.#resources(who, client, type) };
  }

  /** The first that matches, of those sent not before `since`. Throws where there is none. */
  first(match: Partial<Call>, since: number): Call {
    return known(
      this.#calls.find((call) => call.sentAt >= since && matches(call, match)),
      match,
    );
  }

  /** The last that matches, of those answered by `until`. Throws where there is none. */
  last(match: Partial<Call>, until: number): Call {
    return known(
      this.#calls.findLast((call) => call.answeredAt <= until && matches(call, match)),
      match,
    );
  }

  #resources<T extends KubeObject>(who: string, client: KubeClient, type: ResourceType<T>): Resources<T> {
    const inner = client.resources(type);
    const write = async <R>(verb: Call['verb'], name: string, call: () => Promise<R>): Promise<R> => {
      const sentAt = performance.now();
      const answer = await call();
      this.#calls.push({ who, verb, kind: type.kind, name, sentAt, answeredAt: performance.now() });
      return answer;
    };
    return {
      get: (ref) => write('get', ref.name, () => inner.get(ref)),
      list: (options) => inner.list(options),
      create: (object) => write('create', object.metadata.name, () => inner.create(object)),
      patch: (ref, version, patch) => write('patch', ref.name, () => inner.patch(ref, version, patch)),
      patchStatus: (ref, version, patch) =>
        write('patchStatus', ref.name, () => inner.patchStatus(ref, version, patch)),
      delete: (ref, options) => write('delete', ref.name, () => inner.delete(ref, options)),
    };
  }
}

const matches = (call: Call, match: Partial<Call>): boolean =>
  Object.entries(match).every(([key, value]) => Reflect.get(call, key) === value);

function known(call: Call | undefined, match: Partial<Call>): Call {
  if (call === undefined) throw new Error(`no request was seen like ${JSON.stringify(match)}`);
  return call;
}
