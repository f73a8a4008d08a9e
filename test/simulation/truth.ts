import { hasFailed } from '../../crds/attempts.ts';
import { HOST_KINDS, type Host } from '../../crds/host.ts';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition } from '../../kube/conditions.ts';
import type { Commit } from './api-server/server.ts';
import type { SimHost } from './host/host.ts';
import type { SimVm } from './host/vm.ts';
import { USER } from './names.ts';
import type { Deed } from './plan.ts';
import type { World } from './world.ts';

/** A Lease's term. */
const TERM_MS = 40_000;
/** How late a host may be told to be lost: by then its Lease may be held again. */
const TELLING_MS = 60_000;
/** What a guest tells of its Actions runner, in the order in which it comes about. */
const GUEST_STATES = ['NoRunner', 'Starting', 'Idle', 'Running', 'Finished'] as const;
/** Whatever the API server goes through is a trouble of all. */
const ALL = '*';

/** What the API server is told of Runners and hosts, held against what is and was. */
export class Truth {
  readonly #world: World;
  /** All VMs that ever ran of a Runner, by its UID. */
  readonly #vms = new Map<string, SimVm[]>();
  readonly #leases = new Map<string, { renewedAt: number; ranOutUntil: number }>();
  /** Hosts whose object was deleted, and those where bundles were removed, or no room was left to write into them. */
  readonly #deleted = new Set<string>();
  readonly #robbed = new Set<string>();
  /** Until when something is in somebody's way. */
  readonly #troubledUntil = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    world.server.observers.add((commit) => this.#committed(commit));
  }

  spawned(vm: SimVm): void {
    const { uid } = vm.identity;
    this.#vms.set(uid, [...(this.#vms.get(uid) ?? []), vm]);
  }

  /** Something happens that may keep somebody from renewing a Lease. */
  trouble(deed: Deed): void {
    const who = 'who' in deed ? deed.who : 'host' in deed ? deed.host : ALL;
    const forMs = 'forMs' in deed ? deed.forMs : 'downMs' in deed ? deed.downMs : 0;
    const until = this.#world.timeline.now + forMs;
    if (deed.do === 'removeBundle' || deed.do === 'fillDisk') this.#robbed.add(deed.host);
    if (deed.do !== 'slowClones') this.#troubledUntil.set(who, Math.max(until, this.#until(who)));
  }

  #until(who: string): number {
    return this.#troubledUntil.get(who) ?? Number.NEGATIVE_INFINITY;
  }

  #violated(what: string): void {
    this.#world.invariants.violated(what);
  }

  #committed({ type, kind, object, old, by }: Commit): void {
    const { name, namespace, deletionTimestamp } = object.metadata;
    const isLease = kind.kind === 'Lease' && namespace === SYSTEM_NAMESPACE;
    if (isLease && type !== 'DELETED') this.#renewed(name, by);
    const isHost = HOST_KINDS.some((one) => one === kind.kind);
    if (isHost && (type === 'DELETED' || deletionTimestamp !== undefined)) this.#deleted.add(name);
    if (old === undefined || by === USER) return;
    if (kind.kind === 'Runner') this.#runnerTold(object as unknown as Runner, old as unknown as Runner);
    if (isHost) this.#hostTold(object as unknown as Host, old as unknown as Host);
  }

  #runnerTold(now: Runner, old: Runner): void {
    this.#checkBoundAnew(now, old);
    if (now.status === undefined) return;
    const vms = this.#vms.get(now.metadata.uid ?? '') ?? [];
    this.#checkEnd(now, old, vms);
    this.#checkAttempts(now, old);
    const { ipAddress, guest } = now.status;
    const tells = (what: string): void => this.#violated(`truth: ${now.metadata.name} is told ${what}`);
    if (ipAddress !== undefined && ipAddress !== old.status?.ipAddress) {
      const isIts = vms.some(({ prepared }) => prepared.endpoints.guestIp === ipAddress);
      if (!isIts) tells(`to have the address ${ipAddress}, which none of its VMs has`);
    }
    if (guest !== undefined && guest.state !== old.status?.guest?.state) {
      const hasCome = stoodOf(vms).some(
        ({ agent }) => GUEST_STATES.indexOf(agent) >= GUEST_STATES.indexOf(guest.state),
      );
      if (!hasCome) tells(`to be ${guest.state} in its guest, which is not so yet`);
    }
  }

  #checkEnd({ metadata, status, spec }: Runner, old: Runner, vms: readonly SimVm[]): void {
    if (status === undefined || status.phase === old.status?.phase) return;
    const reason = getCondition(status.conditions, 'Finished')?.reason;
    this.#checkReason(metadata, reason, spec.binding?.hostName ?? '');
    if (isTrueEnd(status, reason, vms)) return;
    this.#violated(
      `truth: ${metadata.name} is told to be ${status.phase} (${reason}), which none of its VMs bears out`,
    );
  }

  #checkAttempts({ metadata, status }: Runner, old: Runner): void {
    const known = old.status?.attempts?.map(({ attempt }) => attempt) ?? [];
    for (const { attempt, reason, hostName } of status?.attempts ?? []) {
      if (!known.includes(attempt)) this.#checkReason(metadata, reason, hostName);
    }
  }

  /** Whoever says what has happened must not have made it up. */
  #checkReason({ uid = '', name }: Runner['metadata'], reason: string | undefined, hostName: string): void {
    const vms = this.#vms.get(uid) ?? [];
    const isTrue =
      (reason !== 'HostDeleted' || this.#deleted.has(hostName)) &&
      (reason !== 'BundleLost' || this.#robbed.has(hostName)) &&
      (reason !== 'VmExited' ||
        this.#robbed.has(hostName) ||
        vms.some(({ isAlive, wasKilled }) => !isAlive && !wasKilled));
    if (!isTrue)
      this.#violated(`truth: ${name} is told to have failed on ${hostName} by ${reason}, which was not so`);
  }

  #hostTold({ metadata, status }: Host, old: Host): void {
    const isLost = (host: Host['status']): boolean =>
      getCondition(host?.conditions, 'Ready')?.reason === 'LeaseStale';
    if (!isLost(status) || isLost(old.status) || this.#hasRunOut(metadata.name)) return;
    this.#violated(`line 8: ${metadata.name} is told to be lost, and its Lease has not run out`);
  }

  /** Only a start that failed and a host that is lost or gone make room for another attempt. */
  #checkBoundAnew({ metadata, spec }: Runner, old: Runner): void {
    const { binding } = old.spec;
    if (binding === undefined || spec.binding?.attempt === binding.attempt || hasFailed(old)) return;
    const { hostName } = binding;
    if (this.#deleted.has(hostName) || this.#hasRunOut(hostName)) return;
    this.#violated(`line 8: ${metadata.name} is bound anew, and the Lease of ${hostName} has not run out`);
  }

  /** Whether the Lease of a host has run out now, or had a moment ago. */
  #hasRunOut(host: string): boolean {
    const { renewedAt, ranOutUntil } = this.#lease(host);
    const { now } = this.#world.timeline;
    return now - renewedAt >= TERM_MS || now - ranOutUntil <= TELLING_MS;
  }

  #lease(host: string): { readonly renewedAt: number; readonly ranOutUntil: number } {
    const never = Number.NEGATIVE_INFINITY;
    return this.#leases.get(host) ?? { renewedAt: never, ranOutUntil: never };
  }

  #renewed(name: string, by: string): void {
    const { timeline, hosts } = this.#world;
    const host = hosts.find((one) => one.name === name);
    if (host === undefined || by === USER) return;
    const { now } = timeline;
    const before = this.#lease(name);
    const ranOutUntil = now - before.renewedAt >= TERM_MS ? now : before.ranOutUntil;
    this.#leases.set(name, { renewedAt: now, ranOutUntil });
    timeline.after(TERM_MS, () => this.#checkHeld(host, now));
  }

  /** A daemon that runs and has the API server keeps its Lease, whatever else it does. */
  #checkHeld(host: SimHost, renewedAt: number): void {
    const { life } = host.daemon ?? {};
    const isTroubled = Math.max(this.#until(host.name), this.#until(ALL)) >= renewedAt;
    if (this.#lease(host.name).renewedAt !== renewedAt || isTroubled) return;
    if (life === undefined || life.bornAt > renewedAt) return;
    this.#violated(`heartbeat: ${host.name} let its Lease run out, and nothing was in its way`);
  }
}

/** How guests and scripts of the VMs stand, and stood before resets. */
const stoodOf = (vms: readonly SimVm[]): Pick<SimVm, 'script' | 'agent'>[] =>
  vms.flatMap((vm) => [vm, ...vm.before]);

function isTrueEnd({ phase }: RunnerStatus, reason: string | undefined, vms: readonly SimVm[]): boolean {
  const stood = stoodOf(vms);
  if (phase === 'Finished' && reason === 'JobFinished')
    return stood.some(({ agent }) => agent === 'Finished');
  if (phase === 'Finished')
    return stood.some(({ script }) => script.state === 'exited' && script.exitCode === 0);
  if (phase !== 'Error' || reason !== 'ScriptFailed') return true;
  return stood.some(({ script }) => script.state === 'exited' && script.exitCode !== 0);
}
