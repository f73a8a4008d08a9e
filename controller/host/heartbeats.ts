import type { Clock } from '../../kube/clock.ts';
import type { Lease } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';

export interface HeartbeatsOptions {
  /** A quorum read of a host's Lease. */
  readonly read: (hostName: string) => Promise<Lease | undefined>;
  /** Least time without a renewal after which a Lease is stale; a Lease that lasts longer is given longer. */
  readonly graceMs: number;
  readonly onChange: (hostName: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Heartbeat {
  /** What the last renewal looked like; empty while there is no holder. */
  renewal: string;
  /** When it was seen, on the controller's own monotonic clock. */
  heardAt: number;
  termMs: number;
  lost: boolean;
}

/** A Lease is given a tenth more than it says: clocks of two machines do not run at quite the same speed. */
const SLACK = 1.1;

/**
 * Judges which hosts are lost. A Lease is stale when the controller, on its own monotonic clock, has for a
 * whole grace time had the API and seen no renewal. Times written in Leases are never compared with
 * anything. The last half of that time is spent asking, by quorum: an answer that does not come shows that
 * the API was away, for this controller and maybe for the host, and the grace time starts anew.
 */
export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #heartbeats = new Map<string, Heartbeat>();
  readonly #checks: WorkQueue;
  /** Since when the API has been there, as far as is known; undefined while it is away. */
  #apiSince: number | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
    this.#apiSince = options.clock.monotonic();
    this.#checks = new WorkQueue({
      clock: options.clock,
      concurrency: 8,
      handle: async (hostName) => await this.#check(hostName),
      onError: (hostName, error) =>
        options.log.error({ err: error, host: hostName }, 'cannot judge a heartbeat'),
    });
  }

  start(): void {
    this.#apiSince = this.#options.clock.monotonic();
    this.#checks.start();
  }

  async stop(): Promise<void> {
    await this.#checks.shutdown();
  }

  /** A host is there. Its grace time begins, unless it is known already. Returns whether it was not. */
  watch(hostName: string): boolean {
    if (this.#heartbeats.has(hostName)) return false;
    const heardAt = this.#options.clock.monotonic();
    this.#heartbeats.set(hostName, { renewal: '', heardAt, termMs: 0, lost: false });
    this.#checks.add(hostName);
    return true;
  }

  unwatch(hostName: string): void {
    this.#heartbeats.delete(hostName);
  }

  /** What is known of a host's Lease; undefined where there is none. */
  observe(hostName: string, lease: Lease | undefined): void {
    const heartbeat = this.#heartbeats.get(hostName);
    const { holderIdentity, renewTime, leaseDurationSeconds } = lease?.spec ?? {};
    if (heartbeat === undefined || !holderIdentity) return;
    const renewal = `${holderIdentity} ${renewTime}`;
    if (heartbeat.renewal === renewal) return;
    heartbeat.renewal = renewal;
    heartbeat.heardAt = this.#options.clock.monotonic();
    heartbeat.termMs = (leaseDurationSeconds ?? 0) * 1000 * SLACK;
    if (heartbeat.lost) this.#change(hostName, heartbeat, false);
  }

  /** The connection to the API broke: what is not heard shows nothing until an answer comes again. */
  apiLost(): void {
    this.#apiSince = undefined;
  }

  isLost(hostName: string): boolean {
    return this.#heartbeats.get(hostName)?.lost ?? false;
  }

  async #check(hostName: string): Promise<QueueResult> {
    const heartbeat = this.#heartbeats.get(hostName);
    if (heartbeat === undefined || heartbeat.lost) return undefined;
    const graceMs = Math.max(this.#options.graceMs, heartbeat.termMs);
    const askEveryMs = graceMs / 8;
    const patienceMs = graceMs / 2 - this.#quietMs(heartbeat);
    if (this.#apiSince !== undefined && patienceMs > 0) return { requeueAfterMs: patienceMs };
    if (this.#apiSince === undefined && this.#now() - this.#askedAt < askEveryMs / 2) {
      return { requeueAfterMs: askEveryMs };
    }
    await this.#ask(hostName);
    const remainingMs = graceMs - this.#quietMs(heartbeat);
    if (remainingMs > 0) return { requeueAfterMs: Math.min(askEveryMs, remainingMs) };
    if (this.#heartbeats.get(hostName) === heartbeat) this.#change(hostName, heartbeat, true);
    return undefined;
  }

  async #ask(hostName: string): Promise<void> {
    this.#askedAt = this.#now();
    try {
      this.observe(hostName, await this.#options.read(hostName));
      this.#apiSince ??= this.#now();
    } catch {
      this.apiLost();
    }
  }

  /** For how long the API has been there without a renewal. */
  #quietMs({ heardAt }: Heartbeat): number {
    return this.#apiSince === undefined ? 0 : this.#now() - Math.max(heardAt, this.#apiSince);
  }

  #now(): number {
    return this.#options.clock.monotonic();
  }

  #change(hostName: string, heartbeat: Heartbeat, lost: boolean): void {
    heartbeat.lost = lost;
    if (lost) this.#options.log.warn({ host: hostName }, 'a host has stopped renewing its Lease');
    else this.#options.log.info({ host: hostName }, 'a host renews its Lease again');
    this.#checks.add(hostName);
    this.#options.onChange(hostName);
  }
}
