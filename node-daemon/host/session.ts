import type { Host, HostKind, HostResources } from '../../crds/host.ts';
import { type Clock, sleep } from '../../kube/clock.ts';
import { isConflict, isNotFound } from '../../kube/errors.ts';
import type { LeaseHolder } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import { writeStatus } from '../../kube/status.ts';
import type { TemplateBundle } from '../vm/template.ts';
import { allocatableOf } from './capacity.ts';
import { decideStatus, type HostFacts, type HostIdentity } from './decide.ts';
import type { VolumeRoom } from './machine.ts';
import type { Prober } from './prober.ts';
import type { RebootNote } from './reboot-note.ts';
import type { Registrar } from './register.ts';
import type { HostState } from './registration.ts';
import type { RoomWatch } from './room-watch.ts';
import type { TemplateInventory, TemplateListing } from './templates/inventory.ts';

const KEY = 'host';
/** How long the first status waits for the templates and the driver to be looked at. */
const FIRST_LOOK_MS = 500;
/** How often it is asked whether the Lease is back; a clock that was set tells nobody. */
const WITHOUT_LEASE_MS = 5_000;
/** How long the last status, which says that the daemon ends in order, is tried. */
const FAREWELL_MS = 2_000;

/** What a session is made of. It owns all of it, and ends it when it stops. */
export interface SessionParts {
  readonly name: string;
  readonly kind: HostKind;
  readonly identity: HostIdentity;
  readonly lease: LeaseHolder;
  readonly registrar: Registrar;
  readonly inventory: Pick<TemplateInventory, 'listing' | 'settled' | 'onChange' | 'start' | 'stop'>;
  readonly prober: Prober;
  readonly room: RoomWatch;
  readonly reboot: RebootNote;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * This machine as a host: registered, its Lease held, its status told. Lives as long as the daemon, through
 * deletion and re-creation of the host object.
 */
export class HostSession {
  readonly name: string;
  readonly kind: HostKind;
  readonly #parts: SessionParts;
  readonly #queue: WorkQueue;
  readonly #listeners = new Set<() => void>();
  /**
   * Term of the Lease for which the host object was read by quorum. Whoever deletes it while the Lease is stale
   * declares the VMs dead: a daemon that comes back must have seen that before it acts again.
   */
  #confirmedTerm = 0;
  #stopping = false;
  #hadTemplates = false;
  #told = '';

  constructor(parts: SessionParts) {
    this.name = parts.name;
    this.kind = parts.kind;
    this.#parts = parts;
    this.#queue = new WorkQueue({
      handle: () => this.#reconcile(),
      concurrency: 1,
      clock: parts.clock,
      onError: (_key, error, failures, retryInMs) =>
        parts.log.warn(
          { err: error, failures, retryInMs },
          'the host object could not be brought up to date',
        ),
    });
  }

  /** UID of the host object that VMs on this machine belong to. Changes only after {@link confirmPurged}. */
  uid(): string {
    return this.#parts.registrar.uid ?? '';
  }

  /**
   * `deleting`: a user deleted the host object; it stays until everything of this UID is purged. `vanished`: it
   * is gone, or another UID has its name, by a quorum read. Both call for {@link confirmPurged}.
   */
  state(): HostState {
    return this.#parts.registrar.state;
  }

  /** Whether this daemon may start and destroy VMs now. Judged on the monotonic clock at the moment of asking. */
  leaseFresh(): boolean {
    const { lease } = this.#parts;
    return lease.isFresh && this.#confirmedTerm === lease.terms;
  }

  /** Sealed and verified bundles by name. */
  templates(): ReadonlyMap<string, TemplateBundle> {
    return this.#parts.inventory.listing().published;
  }

  /** What Runners may take of this machine now, by the host's spec. */
  allocatable(): HostResources {
    const spec = this.#parts.registrar.object?.spec ?? {};
    return allocatableOf(this.#parts.identity.machine, spec);
  }

  /** The host object as it was last known; undefined while there is none. */
  object(): Stored<Host> | undefined {
    return this.#parts.registrar.object;
  }

  /** Room on the host root's volume, as it was last read. */
  volume(): VolumeRoom | undefined {
    return this.#parts.room.volume();
  }

  /** Verified and broken bundles. */
  listing(): TemplateListing {
    return this.#parts.inventory.listing();
  }

  /** The machine can run no VM before it is rebooted: see {@link RebootNote}. */
  async needsReboot(why: string): Promise<void> {
    await this.#parts.reboot.needed(why);
  }

  /** Why the daemon is not ready to serve, in one line; undefined where it is. */
  unready(): string | undefined {
    const { registrar, prober, reboot } = this.#parts;
    const probe = prober.result();
    if (registrar.refusal !== undefined) return registrar.refusal.message;
    if (!this.leaseFresh()) return `the Lease of host ${this.name} is not held`;
    if (this.state() !== 'live') return `the host object ${this.name} is ${this.state()}`;
    if (reboot.why !== undefined) return `the machine has to be rebooted: ${reboot.why}`;
    if (probe.state === 'running') return 'the driver is being tried';
    return probe.state === 'failed' ? probe.message : undefined;
  }

  /**
   * Calls back after anything here may have changed: state, UID, Lease, templates, the host's spec. Returns the
   * way out.
   */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Everything that belonged to this host UID was observed gone from this machine: its host object may go, and
   * the machine is registered anew. Does nothing for another UID than the present one.
   */
  confirmPurged(uid: string): void {
    this.#parts.registrar.confirmPurged(uid);
  }

  /** For the parts: something changed that the host object or the daemon's other half should know. */
  changed(): void {
    this.#queue.add(KEY);
    this.#notify();
  }

  /**
   * Registers the machine and tells its first status; from then on keeps the host object up to date. Rejects
   * where the API server does not answer, or with HostNameTakenError.
   */
  async start(): Promise<void> {
    const { registrar, inventory, prober, room, lease, clock } = this.#parts;
    inventory.onChange(() => this.#templatesChanged());
    prober.probe();
    const looked = Promise.all([inventory.start(), room.start(), inventory.settled, prober.settled]);
    // Its failure is met below; until then it must not count as one that nobody looks at.
    looked.catch(() => undefined);
    const { terms } = lease;
    await registrar.start();
    this.#confirmedTerm = terms;
    await registrar.advance(lease.isFresh);
    if (registrar.refusal !== undefined) throw registrar.refusal;
    // What an earlier daemon told is not taken back for the moment that it takes to look again.
    const patience = new AbortController();
    await Promise.race([looked, sleep(clock, FIRST_LOOK_MS, patience.signal)]);
    patience.abort();
    await this.#reconcile();
    this.#queue.add(KEY);
    this.#queue.start();
  }

  /**
   * Ends the session in order. The host turns unready, so that nothing is bound to it, but keeps its Lease until
   * that runs out: VMs go on, and a daemon that is soon back finds them still its own. Idempotent.
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#listeners.clear();
    this.#queue.add(KEY);
    const said = new AbortController();
    const saying = this.#queue.shutdown({ drain: true }).then(() => said.abort());
    await Promise.race([saying, sleep(this.#parts.clock, FAREWELL_MS, said.signal)]);
    await this.abandon({ releaseLease: false });
  }

  /** Ends everything at once. The Lease may be released only where no VM of this host can be running. */
  async abandon(options: { releaseLease: boolean }): Promise<void> {
    const { registrar, inventory, prober, room, lease } = this.#parts;
    prober.stop();
    room.stop();
    await Promise.all([
      this.#queue.shutdown(),
      inventory.stop(),
      registrar.stop(),
      lease.stop({ release: options.releaseLease }),
    ]);
  }

  async #reconcile(): Promise<QueueResult> {
    const { registrar, lease, clock } = this.#parts;
    try {
      await this.#confirmTerm();
      const object = await registrar.advance(lease.isFresh);
      this.#tellState();
      if (!lease.isFresh) return { requeueAfterMs: WITHOUT_LEASE_MS };
      if (object === undefined) return undefined;
      const status = decideStatus(this.#facts(object), object.status, clock.now());
      registrar.learn((await writeStatus(registrar.resources, object, status)).object);
      return undefined;
    } catch (error) {
      if (isConflict(error)) {
        await registrar.refresh();
        return { requeueAfterMs: 0 };
      }
      if (isNotFound(error)) await registrar.refresh();
      throw error;
    }
  }

  async #confirmTerm(): Promise<void> {
    const { registrar, lease } = this.#parts;
    const { terms } = lease;
    if (!lease.isFresh || this.#confirmedTerm === terms) return;
    await registrar.refresh();
    this.#confirmedTerm = terms;
    this.#notify();
  }

  /** Only with a template can a driver be tried in full. */
  #templatesChanged(): void {
    const has = this.templates().size > 0;
    if (has && !this.#hadTemplates) this.#parts.prober.probe();
    this.#hadTemplates = has;
    this.changed();
  }

  #facts(object: Stored<Host>): HostFacts {
    const { identity, inventory, prober, room, reboot } = this.#parts;
    const { published, problems } = inventory.listing();
    return {
      ...identity,
      generation: object.metadata.generation,
      spec: object.spec,
      probe: prober.result(),
      templates: [...published.values()].map(({ metadata: { name, digest, os, arch } }) => ({
        name,
        digest,
        os,
        arch,
      })),
      problems,
      room: room.room(),
      needsReboot: reboot.why,
      life:
        object.metadata.deletionTimestamp !== undefined ? 'deleting' : this.#stopping ? 'stopping' : 'live',
    };
  }

  /** State and UID change only here, after a reconcile has confirmed them. */
  #tellState(): void {
    const now = `${this.state()} ${this.uid()}`;
    if (this.#told === now) return;
    const first = this.#told === '';
    this.#told = now;
    if (this.state() !== 'live') {
      this.#parts.log.warn({ host: this.name, uid: this.uid() }, STATES[this.state()]);
    }
    if (!first) this.#notify();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

const STATES: Record<HostState, string> = {
  live: '',
  deleting: 'the host object is being deleted: its VMs are destroyed, then this machine registers anew',
  vanished: 'the host object is gone: its VMs are destroyed, then this machine registers anew',
};
