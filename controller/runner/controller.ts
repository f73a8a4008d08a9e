import type { Host } from '../../crds/host.ts';
import { holdsOf } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { Clock } from '../../kube/clock.ts';
import { getCondition } from '../../kube/conditions.ts';
import { Elapsed } from '../../kube/elapsed.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { objectKey, refOfKey } from '../../kube/paths.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import type { Resources } from '../../kube/resources.ts';
import { writeStatus } from '../../kube/status.ts';
import type { Events } from '../events.ts';
import type { Informers } from '../informers.ts';
import { logFailedWrite } from '../problems.ts';
import { BindLoop } from './bind-loop.ts';
import { Binder, isPending, type Match } from './binder.ts';
import {
  boundMessage,
  deadlineInMs,
  decide,
  HOST_LOST,
  RETELL_AFTER_MS,
  type RunnerFacts,
} from './decide.ts';
import { defaultClasses } from './demand.ts';
import { type Heartbeat, hostFacts } from './facts.ts';
import type { BoundHost } from './ledger.ts';
import { observe, type RunnerSources } from './observe.ts';
import type { PlacementPolicy } from './place.ts';
import { tellBound, tellReleased, tellWritten } from './tell.ts';

export interface RunnerControllerOptions {
  readonly informers: Informers;
  readonly runners: Resources<Runner>;
  readonly hosts: RunnerSources['hosts'];
  readonly heartbeat: (hostName: string) => Heartbeat;
  readonly policy: PlacementPolicy;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: Events;
  readonly observer?: BindObserver | undefined;
}

/** Told of bindings, for metrics. Milliseconds. */
export interface BindObserver {
  /** `waitedMs`: since the Runner was first seen to wait; `requestMs`: of that, the write itself. */
  bound(waitedMs: number, requestMs: number): void;
}

const TELLERS = 4;

/**
 * Binds Runners to hosts and says of those that wait, or whose host is lost, why. Writes nothing while nothing
 * changes. Each of its two jobs is a loop: {@link BindLoop} for all Runners together, a queue for what is
 * said of each.
 */
export class RunnerController {
  readonly #options: RunnerControllerOptions;
  readonly #binder: Binder;
  readonly #loop: BindLoop;
  readonly #telling: WorkQueue;
  readonly #sources: RunnerSources;
  /** Monotonic times, by UID, of Runners that exist. */
  readonly #toldAt = new Map<string, number>();
  readonly #pendingSince = new Map<string, number>();
  /** By UID of the Runner: UID of the host object that it is bound to, where that is known to be gone. */
  readonly #goneHosts = new Map<string, string>();
  /** Since Runners were created, by UID. */
  readonly #ages: Elapsed;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(options: RunnerControllerOptions) {
    this.#options = options;
    const { informers, clock } = options;
    this.#ages = new Elapsed(clock);
    this.#binder = new Binder({
      policy: options.policy,
      rejudgeAfterMs: RETELL_AFTER_MS,
      clock,
      boundHost: (runner) => this.#boundHost(runner),
      catalogue: {
        template: (name) => informers.templates.store.get({ name }),
        runnerClass: (name) => informers.classes.store.get({ name }),
        defaultClass: () => defaultClasses(informers.classes.store.list())[0],
      },
    });
    this.#loop = new BindLoop({
      binder: this.#binder,
      runners: options.runners,
      learn: (runner) => this.#learn(runner),
      clock,
      log: options.log,
      onRound: () => this.#tellReworded(),
      onBound: (match, requestMs) => this.#bound(match, requestMs),
      onRefused: ({ runner }) => this.#telling.add(objectKey(runner.metadata)),
    });
    this.#telling = new WorkQueue({
      clock,
      concurrency: TELLERS,
      handle: async (key) => await this.#reconcile(key),
      onError: (runner, error, failures, retryInMs) =>
        logFailedWrite(
          options.log,
          error,
          { runner, failures, retryInMs },
          "cannot write a Runner's status now",
        ),
    });
    this.#sources = {
      runner: (ref) => informers.runners.store.get(ref),
      host: (kind, name) => informers.hosts[kind].store.get({ name }),
      hosts: options.hosts,
      verdict: (uid) => this.#binder.verdict(uid),
      heartbeat: options.heartbeat,
      sinceTold: (runner) => this.#sinceTold(runner),
      age: (runner) => this.#age(runner),
      now: () => clock.now(),
    };
  }

  /** Number of Runners that wait for a host. */
  get waiting(): number {
    return this.#binder.waiting;
  }

  /** Begins. All informers must have synced: nothing is bound on half of the truth. */
  start(): void {
    const { informers } = this.#options;
    const templateChanged = (template: Stored<Template>) =>
      this.#binder.templateChanged(template.metadata.name);
    const classChanged = (runnerClass: Stored<RunnerClass>) => this.#binder.classChanged(runnerClass);
    const runnerChanged = (runner: Stored<Runner>) => this.#runnerChanged(runner);
    this.#unsubscribe.push(
      informers.templates.on(this.#waking(templateChanged, isSameSpec)),
      informers.classes.on(this.#waking(classChanged)),
      ...Object.values(informers.hosts).map((hosts) =>
        hosts.on({
          added: (host) => this.#hostChanged(host),
          updated: (_, host) => this.#hostChanged(host),
          deleted: (host) => this.#hostGone(host),
        }),
      ),
      informers.runners.on({
        added: runnerChanged,
        updated: (_, runner) => runnerChanged(runner),
        deleted: (runner) => this.#runnerGone(runner),
      }),
    );
    this.#telling.start();
    this.#loop.start();
  }

  /** The Lease of a host was judged stale, or was renewed after that. */
  heartbeatChanged(hostName: string): void {
    for (const { store } of Object.values(this.#options.informers.hosts)) {
      const host = store.get({ name: hostName });
      if (host !== undefined) this.#hostChanged(host);
    }
    for (const runner of this.#options.informers.runners.store.by('host', hostName)) {
      this.#runnerChanged(runner);
      this.#telling.add(objectKey(runner.metadata));
    }
  }

  /** Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await Promise.all([this.#loop.stop(), this.#telling.shutdown()]);
  }

  async #reconcile(key: string): Promise<QueueResult> {
    const facts = await observe(this.#sources, refOfKey(key));
    if (facts === undefined) return undefined;
    this.#observedHost(facts);
    const { release, status, requeueAfterMs } = decide(facts);
    if (release !== undefined) return await this.#release(facts.runner, release);
    const next = requeueAfterMs === undefined ? undefined : { requeueAfterMs };
    if (status === undefined) return next;
    const { object } = await writeStatus(this.#options.runners, facts.runner, status);
    this.#toldAt.set(facts.runner.metadata.uid, this.#options.clock.monotonic());
    tellWritten(this.#options.events, facts.runner, object);
    this.#learn(object);
    return next;
  }

  /** That a host object is gone is for good: no other ever has its UID. */
  #observedHost({ runner, host }: RunnerFacts): void {
    const { uid } = runner.metadata;
    const { hostUID } = runner.spec.binding ?? {};
    if (host !== 'gone' || hostUID === undefined || this.#goneHosts.get(uid) === hostUID) return;
    this.#goneHosts.set(uid, hostUID);
    this.#runnerChanged(runner);
  }

  /** Looked at again at once: what is left to be said may be said now. */
  async #release(runner: Stored<Runner>, release: readonly string[]): Promise<QueueResult> {
    const { runners, log, events } = this.#options;
    const { metadata } = runner;
    const { namespace, name, uid, resourceVersion } = metadata;
    const finalizers = (metadata.finalizers ?? []).filter((finalizer) => !release.includes(finalizer));
    const object = await runners.patch(metadata, resourceVersion, { metadata: { finalizers } });
    const message = 'let go of a VM whose host was deleted and does not renew its Lease';
    log.warn({ namespace, name, uid, finalizers: release }, message);
    tellReleased(events, runner, release);
    this.#learn(object);
    return { requeueAfterMs: 0 };
  }

  #waking<T>(
    changed: (object: T) => void,
    isSame: (a: T, b: T) => boolean = () => false,
  ): { added(object: T): void; updated(old: T, object: T): void; deleted(object: T): void } {
    const wake = (object: T) => {
      changed(object);
      this.#loop.wake();
    };
    return {
      added: wake,
      updated: (old, object) => {
        if (!isSame(old, object)) wake(object);
      },
      deleted: wake,
    };
  }

  #runnerChanged(runner: Stored<Runner>): void {
    const { uid } = runner.metadata;
    const leftMs = deadlineInMs(runner, this.#age(runner));
    if (leftMs !== undefined && leftMs <= 0) this.#binder.runnerWithheld(runner);
    else this.#binder.runnerChanged(runner);
    if (isPending(runner, this.#boundHost(runner))) {
      if (!this.#pendingSince.has(uid)) this.#pendingSince.set(uid, this.#options.clock.monotonic());
      if (leftMs !== undefined) this.#telling.add(objectKey(runner.metadata));
    }
    if (this.#isHostInDoubt(runner)) this.#telling.add(objectKey(runner.metadata));
    this.#loop.wake();
  }

  #runnerGone(runner: Stored<Runner>): void {
    const { uid } = runner.metadata;
    this.#binder.runnerGone(uid);
    this.#toldAt.delete(uid);
    this.#pendingSince.delete(uid);
    this.#ages.forget(uid);
    this.#goneHosts.delete(uid);
    this.#loop.wake();
  }

  #hostChanged(host: Stored<Host>): void {
    this.#binder.hostChanged(hostFacts(host, this.#options.heartbeat(host.metadata.name)));
    if (host.metadata.deletionTimestamp !== undefined) this.#tellBoundTo(host.metadata.name);
    this.#loop.wake();
  }

  #hostGone(host: Stored<Host>): void {
    this.#binder.hostGone({ kind: host.kind, name: host.metadata.name });
    this.#tellBoundTo(host.metadata.name);
    this.#loop.wake();
  }

  #boundHost({ metadata, spec: { binding } }: Runner): BoundHost {
    if (binding === undefined) return 'there';
    if (this.#goneHosts.get(metadata.uid ?? '') === binding.hostUID) return 'gone';
    return this.#options.heartbeat(binding.hostName) === 'lost' ? 'lost' : 'there';
  }

  #isHostInDoubt({ metadata, spec: { binding } }: Runner): boolean {
    const isLost = (hostName: string): boolean => this.#options.heartbeat(hostName) === 'lost';
    if (holdsOf(metadata).some(({ hostName }) => isLost(hostName))) return true;
    if (binding === undefined) return false;
    if (isLost(binding.hostName)) return true;
    const { MacHost, LinuxHost } = this.#options.informers.hosts;
    const ref = { name: binding.hostName };
    const uids = [MacHost.store.get(ref)?.metadata.uid, LinuxHost.store.get(ref)?.metadata.uid];
    return !uids.includes(binding.hostUID);
  }

  #tellBoundTo(hostName: string): void {
    for (const runner of this.#options.informers.runners.store.by('host', hostName)) {
      this.#telling.add(objectKey(runner.metadata));
    }
  }

  #tellReworded(): void {
    for (const runner of this.#binder.takeReworded()) this.#telling.add(objectKey(runner.metadata));
  }

  #sinceTold(runner: Stored<Runner>): number | undefined {
    const { uid } = runner.metadata;
    const now = this.#options.clock.monotonic();
    // What an earlier controller said may have been said just now.
    if (!this.#toldAt.has(uid) && wasTold(runner)) this.#toldAt.set(uid, now);
    const toldAt = this.#toldAt.get(uid);
    return toldAt === undefined ? undefined : now - toldAt;
  }

  #age({ metadata: { uid, creationTimestamp } }: Stored<Runner>): number {
    return this.#ages.since(Date.parse(creationTimestamp), uid);
  }

  #learn(runner: Stored<Runner>): Stored<Runner> {
    const { informers } = this.#options;
    informers.runners.learn(runner);
    const known = informers.runners.store.get(runner.metadata);
    return known?.metadata.uid === runner.metadata.uid ? known : runner;
  }

  #bound({ runner, host, attempt }: Match, requestMs: number | undefined): void {
    const { uid } = runner.metadata;
    const { clock, events, observer } = this.#options;
    tellBound(events, runner, boundMessage(host.name, attempt));
    const since = this.#pendingSince.get(uid);
    this.#pendingSince.delete(uid);
    // Waiting anew is for what failed before, and tells nothing of how soon a Runner gets a host.
    if (since !== undefined && requestMs !== undefined && attempt === 1)
      observer?.bound(clock.monotonic() - since, requestMs);
  }
}

/** A Template's status is written here and there; what it means for Runners is in its spec. */
const isSameSpec = (a: Stored<Template>, b: Stored<Template>): boolean =>
  a.metadata.uid === b.metadata.uid && a.metadata.generation === b.metadata.generation;

const wasTold = ({ status }: Runner): boolean =>
  getCondition(status?.conditions, 'Bound')?.status === 'False' ||
  getCondition(status?.conditions, 'Ready')?.reason === HOST_LOST;
