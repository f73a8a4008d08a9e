import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Lease } from '../../kube/lease.ts';
import type { VmIdentity } from '../../node-daemon/vm/driver.ts';
import type { AnyObject, Commit } from './api-server/server.ts';
import { fits, holdsOf, hostObject, isOver, roomOf, runnersOf, takenOf } from './claims.ts';
import type { SimHost } from './host/host.ts';
import type { SimVm } from './host/vm.ts';
import { SECRET, USER } from './names.ts';
import type { World } from './world.ts';

/** How long a host may rely on its Lease after it was last renewed. */
const TERM_MS = 40_000;
/** How long a write may be under way that was decided on before a Lease was held anew. */
const IN_FLIGHT_MS = 1_000;

/** How old news may be that a quorum read just before a start did not bring: the answer was under way meanwhile. */
const UNDER_WAY_MS = 1_000;

/** DESIGN.md's invariants, held against what is really there, at every step. */
export class Invariants {
  /** What was broken, in words. */
  readonly violations: string[] = [];
  readonly #world: World;
  /** When each host's own renewal was last stored. */
  readonly #heldAnewAt = new Map<string, number>();
  readonly #renewedAt = new Map<string, number>();
  /**
   * Attempts whose hosts were lost when a later one was bound, by UID and number. Such a host may be back before the later
   * one is started: neither knows of the other, until it purges what is not its own any more.
   */
  /** Attempts whose VMs were declared dead with their host, by `uid.attempt`: they may live until it is back. */
  readonly #declaredDead = new Set<string>();
  readonly #givenUp = new Set<string>();
  /** Attempts, by UID, that were given the script. */
  readonly #given = new Map<string, number>();
  /** Since when each attempt, by UID and number, is not wanted any more. */
  readonly #unwantedAt = new Map<string, number>();
  #leader: string | undefined;
  readonly #formerLeaders = new Set<string>();
  readonly #ran = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    world.server.observers.add((commit) => this.#committed(commit));
  }

  violated(what: string): void {
    this.#world.trace.add('VIOLATION', what);
    this.violations.push(what);
  }

  /** 8: whatever leaves a program. */
  said(where: string, text: string): void {
    if (text.includes(SECRET)) this.violated(`8: a secret stands in ${where}: ${text}`);
  }

  /** Lines 5 and 13 of the binding protocol. */
  spawnAsked(host: SimHost, { uid, attempt }: VmIdentity): void {
    this.#needsLease(host, `starts the VM of ${this.#world.nameOf({ uid, attempt })}`);
  }

  spawned(host: SimHost, vm: SimVm): void {
    const { identity } = vm;
    const name = this.#world.nameOf(identity);
    const unwantedAt =
      this.#unwantedAt.get(`${identity.uid}.${identity.attempt}`) ?? Number.POSITIVE_INFINITY;
    if (this.#world.timeline.now - unwantedAt > UNDER_WAY_MS) {
      this.violated(`line 5: ${host.name} starts the VM of ${name}, which nobody wants any more`);
    }
    for (const other of host.vms()) {
      if (other.identity.uid === identity.uid) this.violated(`1b: ${host.name} runs two VMs of ${name}`);
    }
    for (const elsewhere of this.#world.hosts) {
      for (const other of elsewhere.vms()) {
        this.#checkShared(vm, other);
        if (elsewhere !== host && other.identity.uid === identity.uid) this.#checkOlder(elsewhere, other, vm);
      }
    }
    this.#checkHeld(host, identity);
    const room = hostObject(this.#world.server, host.name)?.status?.allocatable?.runners;
    // Of a VM whose bundle somebody removed, and whose host was declared dead, nothing tells a daemon.
    const count = host.vms().filter(({ isOrphan }) => !isOrphan).length + 1;
    if (room !== undefined && count > room) {
      this.violated(`2: ${host.name} runs ${count} VMs and has room for ${room}`);
    }
  }

  /** 3: what is wanted is not destroyed, whoever could not see that. */
  kill(host: SimHost, vm: SimVm): void {
    const { uid, attempt, hostUid } = vm.identity;
    const name = this.#world.nameOf(vm.identity);
    this.#needsLease(host, `destroys the VM of ${name}`);
    const runner = this.#runner(uid);
    const object = hostObject(this.#world.server, host.name);
    const metadata = host.disk.metadata({ uid, attempt });
    const isWanted =
      runner !== undefined &&
      runner.metadata.deletionTimestamp === undefined &&
      !isOver(runner) &&
      runner.spec.binding?.hostUID === hostUid &&
      runner.spec.binding.attempt === attempt &&
      object?.metadata.uid === hostUid &&
      object.metadata.deletionTimestamp === undefined;
    const isKnownEnd =
      metadata === undefined || metadata.outcome !== undefined || host.disk.wasFull || vm.isHung;
    if (isWanted && !isKnownEnd) this.violated(`3: ${host.name} destroys the VM of ${name}, which is wanted`);
  }

  /** 1a, and line 6: the gate. */
  scriptGiven(identity: VmIdentity): void {
    const { uid, attempt } = identity;
    const name = this.#world.nameOf(identity);
    const earlier = this.#given.get(uid) ?? attempt;
    if (earlier !== attempt) this.violated(`1a: attempt ${earlier} and ${name} were given the script`);
    this.#given.set(uid, attempt);
    const permitted = this.#runner(uid)?.status?.scriptAttempt;
    if (permitted !== attempt) this.violated(`1a: ${name} was given the script before the gate`);
  }

  scriptRan({ identity }: SimVm): void {
    const times = (this.#ran.get(identity.uid) ?? 0) + 1;
    this.#ran.set(identity.uid, times);
    if (times > 1) this.violated(`1a: the script of ${this.#world.nameOf(identity)} ran ${times} times`);
  }

  /** When its Lease was last renewed after it had run out. */
  #backAt(host: string): number {
    return this.#heldAnewAt.get(host) ?? Number.NEGATIVE_INFINITY;
  }

  /** By the time of the API server, when nobody may rely on the host's Lease any more. */
  leaseEndsAt(host: string): number {
    return (this.#renewedAt.get(host) ?? Number.NEGATIVE_INFINITY) + TERM_MS;
  }

  #committed(commit: Commit): void {
    const { object, kind, by } = commit;
    if (kind.kind === 'Lease' && commit.type !== 'DELETED') this.#renewed(object);
    if (kind.kind === 'Runner') this.#noteUnwanted(commit);
    if (by === USER) return;
    if (by.startsWith('controller') && kind.kind !== 'Lease') this.#checkLeader(by);
    const told = kind.kind === 'Runner' ? { ...object, spec: undefined } : object;
    this.said(`${kind.kind} ${object.metadata.name}`, JSON.stringify(told));
    if (kind.kind === 'Runner') {
      this.#runnerWritten(object as unknown as Runner, commit.old as unknown as Runner, commit);
    }
  }

  #noteUnwanted({ object, old, type }: Commit): void {
    const attemptOf = (runner: AnyObject | undefined): number | undefined =>
      (runner as unknown as Runner | undefined)?.spec.binding?.attempt;
    const before = attemptOf(old);
    const ends = type === 'DELETED' || object.metadata.deletionTimestamp !== undefined;
    if (before === undefined || !(ends || attemptOf(object) !== before)) return;
    const key = `${object.metadata.uid}.${before}`;
    if (!this.#unwantedAt.has(key)) this.#unwantedAt.set(key, this.#world.timeline.now);
  }

  /** Whoever was followed by another leader writes no more. */
  #checkLeader(by: string): void {
    if (!this.#world.elects || this.#leader === by) return;
    if (this.#formerLeaders.has(by)) this.violated(`leader: ${by} writes after ${this.#leader} has`);
    this.#formerLeaders.add(by);
    this.#leader = by;
  }

  #renewed({ metadata, ...lease }: AnyObject): void {
    if (metadata.namespace !== SYSTEM_NAMESPACE) return;
    const host = this.#world.hosts.find(({ name }) => name === metadata.name);
    if (host === undefined || (lease as Pick<Lease, 'spec'>).spec?.holderIdentity !== host.machineId) return;
    const { now } = this.#world.timeline;
    if (this.leaseEndsAt(host.name) < now) this.#heldAnewAt.set(host.name, now);
    this.#renewedAt.set(host.name, now);
  }

  #runnerWritten(now: Runner, old: Runner | undefined, { type, by }: Commit): void {
    if (old === undefined) return;
    // The commit that ends an object shows it with the finalizers that just went.
    const left = type === 'DELETED' ? [] : holdsOf(now);
    for (const hold of holdsOf(old)) {
      const stays = left.some(({ host, attempt }) => host === hold.host && attempt === hold.attempt);
      if (stays) continue;
      if (this.#isDeclaredDead(hold.host, by)) this.#declaredDead.add(`${old.metadata.uid}.${hold.attempt}`);
      else this.#checkGone(old, hold);
    }
    if (now.spec.binding?.attempt !== old.spec.binding?.attempt) this.#checkBinding(now, old);
    const { binding } = now.spec;
    const isDead =
      this.#declaredDead.has(`${now.metadata.uid}.${binding?.attempt}`) ||
      this.#isDeclaredDead(binding?.hostName ?? '', by);
    if (isOver(now) && !isOver(old) && !isDead) this.#checkOver(now);
  }

  /** Line 12: whoever deletes the object of a host that does not renew its Lease says that its VMs are dead. */
  #isDeclaredDead(name: string, by: string): boolean {
    const object = hostObject(this.#world.server, name);
    const isDeleted = object === undefined || object.metadata.deletionTimestamp !== undefined;
    const { now } = this.#world.timeline;
    const hasRunOut = this.leaseEndsAt(name) < now || now - this.#backAt(name) <= IN_FLIGHT_MS;
    return by.startsWith('controller') && isDeleted && hasRunOut;
  }

  /** 4 */
  #checkGone(runner: Runner, { host: hostName, attempt }: { host: string; attempt: number }): void {
    const host = this.#world.hosts.find(({ name }) => name === hostName);
    const uid = runner.metadata.uid ?? '';
    if (host === undefined || host.isLost) return;
    const name = this.#world.nameOf({ uid, attempt });
    if (host.vms().some(({ identity }) => identity.uid === uid && identity.attempt === attempt)) {
      this.violated(`4: the finalizer of ${name} on ${hostName} went while its VM ran`);
    }
    if (host.disk.holds({ uid, attempt })) {
      this.violated(`4: the finalizer of ${name} on ${hostName} went while files were left`);
    }
  }

  /** 2, by the objects; and line 9 of the binding protocol. */
  #checkBinding(now: Runner, old: Runner): void {
    const { server, timeline } = this.#world;
    for (const { host, attempt } of holdsOf(old)) {
      if (this.leaseEndsAt(host) <= timeline.now) this.#givenUp.add(`${old.metadata.uid}.${attempt}`);
    }
    const { binding } = now.spec;
    const host = binding && hostObject(server, binding.hostName);
    if (binding === undefined || host === undefined) return;
    const taken = takenOf(server, binding.hostName);
    if (host.status?.allocatable !== undefined && !fits(taken, roomOf(host))) {
      this.violated(
        `2: ${now.metadata.name} was bound to ${binding.hostName}, which is full: ${JSON.stringify(taken)}`,
      );
    }
    if (old.spec.binding !== undefined && old.status?.scriptAttempt === old.spec.binding.attempt) {
      this.violated(`1c: ${now.metadata.name} was bound anew behind the gate`);
    }
  }

  #checkOver(runner: Runner): void {
    const { binding } = runner.spec;
    const host = this.#world.hosts.find(({ name }) => name === binding?.hostName);
    if (binding === undefined || host === undefined || host.isLost) return;
    const uid = runner.metadata.uid ?? '';
    if (host.vms().some(({ identity }) => identity.uid === uid)) {
      this.violated(`4: ${runner.metadata.name} was told to be ${runner.status?.phase} while its VM ran`);
    }
  }

  /** 4: nothing runs that nothing holds, unless the host was declared dead. */
  #checkHeld(host: SimHost, { uid, attempt, hostUid }: VmIdentity): void {
    if (hostObject(this.#world.server, host.name)?.metadata.uid !== hostUid) return;
    const holds = holdsOf(this.#runner(uid) ?? ({ metadata: {} } as Runner));
    if (holds.some((hold) => hold.host === host.name && hold.attempt === attempt)) return;
    this.violated(
      `4: ${host.name} starts the VM of ${this.#world.nameOf({ uid, attempt })} without a finalizer`,
    );
  }

  /** 5 */
  #checkShared(vm: SimVm, other: SimVm): void {
    const both = (what: string): void =>
      this.violated(
        `5: ${this.#world.nameOf(vm.identity)} and ${this.#world.nameOf(other.identity)} share ${what}`,
      );
    if (vm.prepared.endpoints.mac === other.prepared.endpoints.mac) both('a MAC address');
    if (vm.prepared.endpoints.ssh.host === other.prepared.endpoints.ssh.host) both('an address');
    if (vm.seed !== undefined && vm.seed.token === other.seed?.token) both('a token');
    if (vm.seed !== undefined && vm.seed.hostKey === other.seed?.hostKey) both('a host key');
  }

  /** 1c */
  #checkOlder(host: SimHost, older: SimVm, newer: SimVm): void {
    const name = this.#world.nameOf(newer.identity);
    if (newer.identity.attempt < older.identity.attempt) {
      this.violated(`1c: ${name} was started after a later attempt`);
    }
    const wasLost = this.#givenUp.has(`${older.identity.uid}.${older.identity.attempt}`);
    if (!wasLost && this.leaseEndsAt(host.name) > this.#world.timeline.now) {
      this.violated(`1c: ${name} was started while attempt ${older.identity.attempt} runs on ${host.name}`);
    }
    if (older.ran.length > 0) {
      this.violated(`1c: ${name} was started although attempt ${older.identity.attempt} got the script`);
    }
    const holds = holdsOf(this.#runner(newer.identity.uid) ?? ({ metadata: {} } as Runner));
    const isHeld = holds.some(
      ({ host: on, attempt }) => on === host.name && attempt === older.identity.attempt,
    );
    const isDead = this.#declaredDead.has(`${older.identity.uid}.${older.identity.attempt}`);
    if (
      !isHeld &&
      !isDead &&
      hostObject(this.#world.server, host.name)?.metadata.uid === older.identity.hostUid
    ) {
      this.violated(`1c: ${host.name} runs an older VM of ${name} without a finalizer`);
    }
  }

  #needsLease(host: SimHost, what: string): void {
    if (this.leaseEndsAt(host.name) < this.#world.timeline.now) {
      this.violated(`13: ${host.name} ${what} without a fresh Lease`);
    }
  }

  #runner(uid: string): Runner | undefined {
    return runnersOf(this.#world.server).find(({ metadata }) => metadata.uid === uid);
  }
}
