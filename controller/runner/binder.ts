import { countedFailures, hasFailed, hasPassedGate, isOver } from '../../crds/attempts.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import { Backlog, type Group } from './backlog.ts';
import { type Catalogue, type ResolvedNames, resolve } from './demand.ts';
import { explain, type Verdict } from './explain.ts';
import { type BoundHost, Ledger } from './ledger.ts';
import { type Candidate, type Demand, type HostFacts, misfit, type PlacementPolicy, place } from './place.ts';
import { type Avoided, failuresOn, type Retries, retriesOf } from './retry.ts';

/** A Runner and the host that it is to be bound to. */
export interface Match extends ResolvedNames {
  readonly runner: Stored<Runner>;
  readonly host: HostFacts;
  readonly demand: Demand;
  readonly templateDigest: string;
  readonly attempt: number;
}

export interface BinderOptions {
  readonly catalogue: Catalogue;
  readonly policy: PlacementPolicy;
  /** Least time between two judgements of Runners that wait, where no host gained room. */
  readonly rejudgeAfterMs: number;
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  /** Asked at {@link Binder.runnerChanged}: whoever answers says so when the answer has changed. */
  readonly boundHost: (runner: Runner) => BoundHost;
}

/** Every Runner that waits may have to be told of a judgement: with more of them there are fewer, 50 words a second. */
const REJUDGE_MS_PER_RUNNER = 20;

/**
 * Whether a Runner waits for a host; the one place that says so. What is dying or over is never bound. What is bound
 * is its host's until that attempt was recorded as failed (line 10 of the binding protocol) or the host is lost
 * (line 9), and for good once the gate is passed.
 */
export function isPending(runner: Runner, boundHost: BoundHost): boolean {
  if (runner.metadata.deletionTimestamp !== undefined || isOver(runner)) return false;
  if (runner.spec.binding === undefined) return true;
  if (hasPassedGate(runner)) return false;
  if (!hasFailed(runner)) return boundHost !== 'there';
  // The node daemon says Error where no start is left.
  return countedFailures(runner.status?.attempts) < runner.spec.startAttempts;
}

/**
 * All that binding is decided from, kept up to date by events, and the decision itself. No I/O: the same
 * events and calls give the same matches. {@link next} must not be called before every kind was listed.
 *
 * Freed room is offered to the oldest Runner that fits; one that does not fit blocks nobody. An event costs
 * a look at each group of equal Runners, not at each Runner.
 */
export class Binder {
  readonly #options: BinderOptions;
  readonly #ledger = new Ledger();
  readonly #backlog = new Backlog();
  /** By {@link hostKey}; `used` is current except for names in #dirtyHosts. */
  readonly #candidates = new Map<string, Candidate>();
  readonly #dirtyHosts = new Set<string>();
  /** Runners that must not be tried now, with what there is to say of them. */
  readonly #held = new Map<string, Verdict | undefined>();
  readonly #reworded = new Set<Stored<Runner>>();
  /** By UID, of all Runners. */
  readonly #retries = new Map<string, Retries>();

  constructor(options: BinderOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#backlog.size;
  }

  hostChanged(host: HostFacts): void {
    this.#candidates.set(hostKey(host), { host, used: this.#ledger.usage(host) });
    this.#dirtyHosts.add(host.name);
  }

  hostGone(host: Pick<HostFacts, 'kind' | 'name'>): void {
    this.#candidates.delete(hostKey(host));
    this.#dirtyHosts.add(host.name);
  }

  runnerChanged(runner: Stored<Runner>): void {
    const { uid } = runner.metadata;
    const boundHost = this.#options.boundHost(runner);
    const avoided = this.#avoidedBy(runner);
    this.#markDirty(this.#ledger.observe(uid, runner, boundHost));
    if (!isPending(runner, boundHost) || this.#ledger.isAssumed(uid) || this.#held.has(uid)) {
      this.#backlog.remove(uid);
      return;
    }
    const isNew = this.#backlog.groupOf(uid) === undefined;
    const group = this.#backlog.put(runner, avoided);
    if (!isNew || group.open) return;
    this.#reworded.add(runner);
    if (group.stale) group.judgedAt = Number.NEGATIVE_INFINITY;
  }

  /** As {@link runnerChanged}, of one that must not be bound, though it waits. */
  runnerWithheld(runner: Stored<Runner>): void {
    const { uid } = runner.metadata;
    this.#markDirty(this.#ledger.observe(uid, runner));
    this.#backlog.remove(uid);
  }

  runnerGone(uid: string): void {
    this.#markDirty(this.#ledger.forget(uid));
    this.#backlog.remove(uid);
    this.#held.delete(uid);
    this.#retries.delete(uid);
  }

  templateChanged(name: string): void {
    this.#reopen((group) => group.wish.templateName === name);
  }

  /** A class changed, appeared or went; so may have what stands for Runners that name none. */
  classChanged(runnerClass: Pick<RunnerClass, 'metadata'>): void {
    const { name } = runnerClass.metadata;
    this.#reopen(({ wish }) => wish.className === undefined || wish.className === name);
  }

  /** Why a waiting Runner is not bound; undefined while it was not judged. */
  verdict(uid: string): Verdict | undefined {
    return this.#held.get(uid) ?? this.#backlog.groupOf(uid)?.verdict;
  }

  /** Runners whose verdict is new or reads differently since the last call. */
  takeReworded(): Stored<Runner>[] {
    const reworded = [...this.#reworded];
    this.#reworded.clear();
    return reworded;
  }

  /**
   * The next Runner to bind, or undefined when none can be. Its slot counts as taken from now on, until an
   * object shows the binding or {@link release} says that it did not happen.
   */
  next(now: number): Match | undefined {
    this.#wakeGroups(now);
    for (;;) {
      const oldest = this.#backlog.oldest();
      if (oldest === undefined) return undefined;
      const found = this.#judge(oldest.group, now);
      if (found === undefined) continue;
      const { runner } = oldest;
      const templateDigest = found.host.bundles.get(found.demand.bundle.name)?.digest ?? '';
      const match = { ...found, runner, templateDigest, attempt: nextAttempt(runner) };
      this.#take(match);
      return match;
    }
  }

  /** A match certainly did not become a binding: its slot is free again. The Runner is not tried until {@link retry}. */
  release(uid: string, verdict?: Verdict): void {
    this.#held.set(uid, verdict);
    this.#markDirty(this.#ledger.release(uid));
  }

  /** Lets a released Runner be tried again, as it is now; undefined where it is gone. */
  retry(uid: string, runner: Stored<Runner> | undefined): void {
    this.#held.delete(uid);
    if (runner === undefined) this.runnerGone(uid);
    else this.runnerChanged(runner);
  }

  /**
   * Judges again the groups whose counts may be old, where that is due. Returns the milliseconds until the
   * next one is due, or until time alone may bring a host; undefined when nothing is.
   */
  rejudge(now: number): number | undefined {
    this.#wakeGroups(now);
    const afterMs = Math.max(this.#options.rejudgeAfterMs, this.waiting * REJUDGE_MS_PER_RUNNER);
    let nextMs = Number.POSITIVE_INFINITY;
    for (const group of this.#backlog.groups()) {
      if (group.open) continue;
      const dueMs = group.stale ? group.judgedAt + afterMs - now : Number.POSITIVE_INFINITY;
      if (dueMs <= 0) this.#judge(group, now);
      else nextMs = Math.min(nextMs, dueMs);
      if (group.retryAt !== undefined) nextMs = Math.min(nextMs, Math.max(0, group.retryAt - now));
    }
    return Number.isFinite(nextMs) ? nextMs : undefined;
  }

  /** Finds a host for the group's next Runner. Where there is none, closes the group with a verdict. */
  #judge(group: Group, now: number): Pick<Match, 'host' | 'demand' | keyof ResolvedNames> | undefined {
    const resolution = group.resolution ?? resolve(group.wish, this.#options.catalogue);
    group.resolution = resolution;
    if ('reason' in resolution) {
      this.#close(group, resolution, now);
      return undefined;
    }
    const { policy } = this.#options;
    const placement = place(resolution.demand, this.#candidates.values(), policy, (hostName) =>
      failuresOn(group.avoided, hostName, now),
    );
    if ('unplaceable' in placement) {
      this.#close(group, explain(placement.unplaceable, resolution.demand, resolution), now);
      const rests = [...group.avoided.values()].filter((until) => until > now);
      group.retryAt = placement.unplaceable.has('JustFailed') ? Math.min(...rests) : undefined;
      return undefined;
    }
    group.open = true;
    return { ...resolution, host: placement.host };
  }

  #close(group: Group, verdict: Verdict, now: number): void {
    const isNews = group.verdict?.reason !== verdict.reason || group.verdict.message !== verdict.message;
    group.open = false;
    group.stale = false;
    group.retryAt = undefined;
    group.verdict = { reason: verdict.reason, message: verdict.message };
    group.judgedAt = now;
    if (isNews) for (const runner of this.#backlog.members(group)) this.#reworded.add(runner);
  }

  #take(match: Match): void {
    const { uid } = match.runner.metadata;
    this.#backlog.remove(uid);
    this.#ledger.assume(uid, {
      hostName: match.host.name,
      attempt: match.attempt,
      amounts: match.demand.amounts,
      templateDigest: match.templateDigest,
    });
    this.#markDirty([match.host.name]);
  }

  #reopen(concerns: (group: Group) => boolean): void {
    for (const group of this.#backlog.groups()) {
      if (!concerns(group)) continue;
      group.resolution = undefined;
      group.open = true;
    }
  }

  /** Opens the groups that a changed host has room for, and those that have waited for time to pass. */
  #wakeGroups(now: number): void {
    for (const group of this.#backlog.groups()) {
      if (group.retryAt !== undefined && group.retryAt <= now) group.open = true;
    }
    const changed = this.#refreshCandidates();
    if (changed === undefined) return;
    for (const group of this.#backlog.groups()) {
      if (group.open || group.resolution === undefined || 'reason' in group.resolution) continue;
      const { demand } = group.resolution;
      group.open = changed.some(({ host, used }) => misfit(demand, host, used) === undefined);
      group.stale = true;
    }
  }

  /** Brings usage up to date. Returns the candidates concerned, undefined where no host changed. */
  #refreshCandidates(): Candidate[] | undefined {
    if (this.#dirtyHosts.size === 0) return undefined;
    const changed: Candidate[] = [];
    for (const name of this.#dirtyHosts) {
      for (const kind of ['MacHost', 'LinuxHost'] as const) {
        const known = this.#candidates.get(hostKey({ kind, name }));
        if (known === undefined) continue;
        const candidate = { host: known.host, used: this.#ledger.usage(known.host) };
        this.#candidates.set(hostKey(known.host), candidate);
        changed.push(candidate);
      }
    }
    this.#dirtyHosts.clear();
    return changed;
  }

  /** Of every state that is seen: what fails afterwards has failed before one's eyes. */
  #avoidedBy(runner: Stored<Runner>): Avoided {
    const { uid } = runner.metadata;
    const { clock } = this.#options;
    const now = { wall: clock.now(), monotonic: clock.monotonic() };
    const retries = retriesOf(runner, now, this.#retries.get(uid));
    this.#retries.set(uid, retries);
    return retries.avoided;
  }

  #markDirty(hostNames: Iterable<string>): void {
    for (const name of hostNames) this.#dirtyHosts.add(name);
  }
}

const hostKey = ({ kind, name }: Pick<HostFacts, 'kind' | 'name'>): string => `${kind}/${name}`;

/** Attempts are counted from 1. */
const nextAttempt = (runner: Runner): number => (runner.spec.binding?.attempt ?? 0) + 1;
