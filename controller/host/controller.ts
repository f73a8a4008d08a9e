import { HOST_KINDS, type Host, type HostKind } from '../../crds/host.ts';
import { holdsOf, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Lease } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import type { Resources } from '../../kube/resources.ts';
import { writeStatus } from '../../kube/status.ts';
import { hostsOf, type Informers } from '../informers.ts';
import { logFailedWrite } from '../problems.ts';
import { decideHost } from './decide.ts';
import { Heartbeats } from './heartbeats.ts';

export interface HostControllerOptions {
  readonly informers: Informers;
  readonly hosts: Readonly<Record<HostKind, Resources<Host>>>;
  readonly leases: Pick<Resources<Lease>, 'get' | 'delete'>;
  /** See {@link Heartbeats}. */
  readonly graceMs: number;
  /** The Lease of a host was judged stale, or was renewed after that. */
  readonly onHeartbeat: (hostName: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Follows the Leases of all hosts and sets Ready=Unknown on those that are lost. */
export class HostController {
  readonly #options: HostControllerOptions;
  readonly #heartbeats: Heartbeats;
  readonly #telling: WorkQueue;
  readonly #toldAt = new Map<string, number>();
  /** Hosts that each Runner named last, by its UID: what is seen of it at its end may name them no more. */
  readonly #namedBy = new Map<string, readonly string[]>();
  readonly #unsubscribe: (() => void)[] = [];

  constructor(options: HostControllerOptions) {
    this.#options = options;
    const { clock, log, leases } = options;
    this.#heartbeats = new Heartbeats({
      read: async (name) => await leases.get(leaseRef(name)),
      graceMs: options.graceMs,
      onChange: (name) => this.#heartbeatChanged(name),
      clock,
      log,
    });
    this.#telling = new WorkQueue({
      clock,
      concurrency: 4,
      handle: async (key) => await this.#reconcile(key),
      onError: (host, error, failures, retryInMs) =>
        logFailedWrite(log, error, { host, failures, retryInMs }, "cannot write a host's status now"),
    });
  }

  isLost(hostName: string): boolean {
    return this.#heartbeats.isLost(hostName);
  }

  /** See {@link Heartbeats.apiLost}. */
  apiLost(): void {
    this.#heartbeats.apiLost();
  }

  /** Begins. All informers must have synced. */
  start(): void {
    const { informers } = this.#options;
    for (const kind of HOST_KINDS) {
      this.#unsubscribe.push(
        informers.hosts[kind].on({
          added: (host) => this.#hostChanged(host),
          updated: (_, host) => this.#hostChanged(host),
          deleted: (host) => this.#hostGone(host),
        }),
      );
    }
    this.#unsubscribe.push(
      informers.runners.on({
        added: (runner) => this.#holdsChanged(runner, hostsOf(runner)),
        updated: (_, runner) => this.#holdsChanged(runner, hostsOf(runner)),
        deleted: (runner) => this.#holdsChanged(runner, []),
      }),
    );
    const observe = (lease: Stored<Lease>) => this.#heartbeats.observe(lease.metadata.name, lease);
    this.#unsubscribe.push(informers.leases.on({ added: observe, updated: (_, lease) => observe(lease) }));
    this.#heartbeats.start();
    this.#telling.start();
  }

  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await Promise.all([this.#heartbeats.stop(), this.#telling.shutdown()]);
  }

  async #reconcile(key: string): Promise<QueueResult> {
    const { informers, clock, hosts, log } = this.#options;
    const { kind, name } = parseKey(key);
    const host = informers.hosts[kind].store.get({ name });
    if (host === undefined) return undefined;
    const toldAt = this.#toldAt.get(key);
    const { finalizers, status, requeueAfterMs } = decideHost({
      host,
      lost: this.isLost(name),
      holdsVms: this.#holdsVms(name),
      sinceToldMs: toldAt === undefined ? undefined : clock.monotonic() - toldAt,
      now: clock.now(),
    });
    if (finalizers !== undefined) {
      if (!(await this.#deleteLease(name))) return undefined;
      log.warn({ host: name, kind }, 'let go of a host that was deleted and does not renew its Lease');
      const patch = { metadata: { finalizers } };
      informers.hosts[kind].learn(await hosts[kind].patch({ name }, host.metadata.resourceVersion, patch));
      return undefined;
    }
    if (requeueAfterMs !== undefined) return { requeueAfterMs };
    if (status === undefined || !(await this.#readLease(name)).isLost) return undefined;
    const { object } = await writeStatus(hosts[kind], host, status);
    this.#toldAt.set(key, clock.monotonic());
    informers.hosts[kind].learn(object);
    return undefined;
  }

  /** By quorum: the watch may be behind, and nothing is said of a host, nor taken from it, that renews its Lease. */
  async #readLease(name: string): Promise<{ isLost: boolean; lease: Stored<Lease> | undefined }> {
    const lease = await this.#options.leases.get(leaseRef(name));
    this.#heartbeats.observe(name, lease);
    return { isLost: this.isLost(name), lease };
  }

  /** Takes the Lease of a host that is lost away before its last trace goes: nobody would do it afterwards. */
  async #deleteLease(name: string): Promise<boolean> {
    const { isLost, lease } = await this.#readLease(name);
    if (isLost && lease !== undefined) await this.#options.leases.delete(leaseRef(name), lease.metadata);
    return isLost;
  }

  #hostChanged(host: Stored<Host>): void {
    const { name } = host.metadata;
    this.#watch(name);
    if (this.isLost(name)) this.#telling.add(keyOf(host));
  }

  #hostGone(host: Stored<Host>): void {
    this.#toldAt.delete(keyOf(host));
    this.#unwatchUnlessNamed(host.metadata.name);
  }

  /** A host whose object is gone is judged as long as it may hold something of a Runner. */
  #holdsChanged({ metadata: { uid } }: Stored<Runner>, names: readonly string[]): void {
    const before = this.#namedBy.get(uid) ?? [];
    if (names.length > 0) this.#namedBy.set(uid, names);
    else this.#namedBy.delete(uid);
    for (const name of names) this.#watch(name);
    for (const name of before) {
      if (this.isLost(name)) this.#tell(name);
      if (!names.includes(name)) this.#unwatchUnlessNamed(name);
    }
  }

  #watch(name: string): void {
    if (!this.#heartbeats.watch(name)) return;
    const lease = this.#options.informers.leases.store.get(leaseRef(name));
    this.#heartbeats.observe(name, lease);
  }

  #unwatchUnlessNamed(name: string): void {
    const { hosts, runners } = this.#options.informers;
    const isNamed = HOST_KINDS.some((kind) => hosts[kind].store.get({ name }) !== undefined);
    if (!isNamed && runners.store.by('host', name).length === 0) this.#heartbeats.unwatch(name);
  }

  #holdsVms(name: string): boolean {
    const runners = this.#options.informers.runners.store.by('host', name);
    return runners.some(({ metadata }) => holdsOf(metadata).some(({ hostName }) => hostName === name));
  }

  #tell(name: string): void {
    for (const kind of HOST_KINDS) this.#telling.add(keyOf({ kind, metadata: { name } }));
  }

  #heartbeatChanged(name: string): void {
    this.#tell(name);
    this.#options.onHeartbeat(name);
  }
}

const leaseRef = (name: string) => ({ namespace: SYSTEM_NAMESPACE, name });

const keyOf = ({ kind, metadata }: Pick<Host, 'kind' | 'metadata'>): string => `${kind}/${metadata.name}`;

function parseKey(key: string): { kind: HostKind; name: string } {
  const slash = key.indexOf('/');
  return { kind: key.slice(0, slash) === 'MacHost' ? 'MacHost' : 'LinuxHost', name: key.slice(slash + 1) };
}
