import type { Collection, KubeClient, WatchOptions } from '../client.ts';
import { type Clock, sleep } from '../clock.ts';
import { ApiError, ApiUnreachable } from '../errors.ts';
import { LEASES, type Lease, type LeaseHolderOptions } from '../lease.ts';
import { applyMergePatch } from '../merge-patch.ts';
import type { KubeObject, Stored } from '../object.ts';
import type { Resources } from '../resources.ts';
import type { WatchEvent } from '../watch.ts';

export const LEASE_REF = { namespace: 'system', name: 'host-1' };

/** One client's way to the server. `cut`: requests do not arrive. `deaf`: they do, and the answers are lost. */
export interface Network {
  state: 'up' | 'cut' | 'deaf';
  delayMs: number;
}

/** One Lease as the API server keeps it. */
export class LeaseServer {
  readonly clock: Clock;
  requests: string[] = [];
  #lease: Stored<Lease> | undefined;
  #revision = 0;
  #watchers: (() => void)[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get lease(): Stored<Lease> | undefined {
    return this.#lease;
  }

  #set(lease: Stored<Lease> | undefined): void {
    this.#lease = lease;
    for (const wake of this.#watchers.splice(0)) wake();
  }

  /** What one client sees of it. */
  client(network: Network): LeaseHolderOptions['resources'] {
    const exchange = async <R>(name: string, serve: () => R): Promise<R> => {
      const { state, delayMs } = network;
      if (delayMs > 0) await sleep(this.clock, delayMs);
      const lost = () => new ApiUnreachable('https://api', 'Timeout', 'no answer in time');
      if (state === 'cut') throw lost();
      this.requests.push(name);
      const answer = serve();
      if (delayMs > 0) await sleep(this.clock, delayMs);
      if (state === 'deaf') throw lost();
      return structuredClone(answer);
    };
    return {
      get: () => exchange('get', () => this.lease),
      create: (lease) => exchange('create', () => this.#create(lease)),
      patch: (_, resourceVersion, patch) => exchange('patch', () => this.patch(patch, resourceVersion)),
    };
  }

  /** The same with the Lease's collection, whose watches are as good as the network. */
  kubeClient(network: Network): Pick<KubeClient, 'resources' | 'collection'> {
    const collection: Collection<Lease> = {
      type: LEASES,
      listPage: () => Promise.reject(new ApiUnreachable('https://api', 'Other', 'only streaming lists')),
      watch: (options) => this.#watch(network, options),
    };
    return {
      resources: <T extends KubeObject>() => this.client(network) as unknown as Resources<T>,
      collection: <T extends KubeObject>() => collection as unknown as Collection<T>,
    };
  }

  async *#watch(network: Network, { signal }: WatchOptions): AsyncGenerator<WatchEvent<Lease>, void> {
    let shown = this.#lease;
    if (shown !== undefined) yield { type: 'ADDED', object: structuredClone(shown) };
    yield { type: 'BOOKMARK', resourceVersion: String(this.#revision), initialEventsEnd: true };
    while (!signal.aborted) {
      const { lease } = this;
      if (network.state !== 'up' || lease === shown) {
        await new Promise<void>((resolve) => {
          this.#watchers.push(resolve);
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
        continue;
      }
      const gone = shown;
      shown = lease;
      if (lease !== undefined) yield { type: 'MODIFIED', object: structuredClone(lease) };
      else if (gone !== undefined) yield { type: 'DELETED', object: structuredClone(gone) };
    }
  }

  /** Without a resourceVersion: somebody else's unfenced write. */
  patch(patch: object, resourceVersion?: string): Stored<Lease> {
    if (this.lease === undefined) throw new ApiError(404, 'NotFound', 'gone', { name: LEASE_REF.name });
    if (resourceVersion !== undefined && resourceVersion !== this.lease.metadata.resourceVersion) {
      throw new ApiError(409, 'Conflict', 'the object has been modified');
    }
    const next = applyMergePatch(this.lease, patch) as Stored<Lease>;
    const patched = { ...next, metadata: { ...next.metadata, resourceVersion: this.#next() } };
    this.#set(patched);
    return patched;
  }

  /** Somebody else's. */
  delete(): void {
    this.#set(undefined);
  }

  #create(lease: Lease): Stored<Lease> {
    if (this.lease !== undefined) throw new ApiError(409, 'AlreadyExists', 'taken');
    const creationTimestamp = new Date(this.clock.now()).toISOString();
    const metadata = {
      ...lease.metadata,
      uid: this.#next(),
      resourceVersion: this.#next(),
      creationTimestamp,
    };
    const created = { ...structuredClone(lease), metadata };
    this.#set(created);
    return created;
  }

  #next(): string {
    this.#revision += 1;
    return String(this.#revision);
  }
}
