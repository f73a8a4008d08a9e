import { hasFailed } from '../../crds/attempts.ts';
import type { Runner } from '../../crds/runner.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Informer } from '../../kube/informer.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import { act, StaleRunnerError } from './act.ts';
import { decide, earliest, WITHOUT_LEASE_MS } from './decide.ts';
import { attemptsHeldBy, type Observation, observe } from './observe.ts';
import type { RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';
import { Sessions } from './sessions.ts';

/** Name of the informer's index by UID. */
export const BY_UID = 'uid';

/** Runners reconciled at once. Reconciles are short: all that takes long is a session's work. */
const CONCURRENCY = 8;

/** No event tells that an API server or a disk is well again. */
const BACKOFF = { baseMs: 200, maxMs: 15_000 };

/** How often a Runner is looked at that is bound here and that the watch does not show: it may leave unseen. */
const UNSHOWN_MS = 5_000;

/** Key of the work that looks for this host's finalizers on all Runners: line 11 of the binding protocol. */
const ALL_RUNNERS = '*';

export interface RunnerControllerOptions {
  readonly ports: RunnerPorts;
  /** Runners bound to this host by name, indexed by {@link BY_UID}. */
  readonly informer: Informer<Runner, typeof BY_UID>;
  /** Called after each pass that may have changed what others are told. */
  readonly onChange?: (() => void) | undefined;
  /** A reconcile failed and will be tried again. */
  readonly onFailure?: (() => void) | undefined;
}

/** Reconciles the Runners of one host: keyed by UID, driven by the informer, by VMs, guests and bundles. */
export class RunnerController {
  readonly #ports: RunnerPorts;
  readonly #informer: Informer<Runner, typeof BY_UID>;
  readonly #onChange: () => void;
  readonly #sessions: Sessions;
  readonly #queue: WorkQueue;
  /** Runners that the informer does not show and that may carry a finalizer of this host. */
  readonly #elsewhere = new Map<string, ObjectRef>();
  /** UIDs of bundles that were there at the start and are not known to be wanted or gone. */
  readonly #leftovers = new Set<string>();
  /** UID of the host object for which all Runners were searched; undefined: to be done, or to be done again. */
  #searchedAs: string | undefined;

  constructor({ ports, informer, onChange, onFailure }: RunnerControllerOptions) {
    this.#ports = ports;
    this.#informer = informer;
    this.#onChange = onChange ?? (() => {});
    this.#sessions = new Sessions(ports, (uid) => this.#queue.add(uid));
    this.#queue = new WorkQueue({
      clock: ports.clock,
      concurrency: CONCURRENCY,
      backoff: BACKOFF,
      handle: (key) => (key === ALL_RUNNERS ? this.#searchAll() : this.#reconcile(key)),
      onError: (key, error, failures, retryInMs) => {
        onFailure?.();
        // What cannot be told of one must not hold up all others.
        this.#cleared(key);
        // Somebody else wrote first: the informer brings what they wrote.
        if (isConflict(error) || error instanceof StaleRunnerError) return;
        ports.log.warn({ err: error, key, failures, retryInMs }, 'reconcile failed; it will be tried again');
      },
    });
  }

  /**
   * Begins once the informer has synced. Bundles that no Runner of the informer accounts for are looked into as
   * well, and Runners bound elsewhere that this host has a hold on: lines 4 and 11 of the binding protocol.
   */
  async start(): Promise<void> {
    const enqueue = ({ metadata }: Stored<Runner>): void => this.#queue.add(metadata.uid);
    this.#informer.on({
      added: enqueue,
      updated: (_, runner) => enqueue(runner),
      deleted: (runner) => this.#hasLeft(runner),
    });
    await this.#informer.synced;
    this.wakeAll();
    const { bundles, unknown } = await this.#ports.bundles.list();
    for (const { uid } of bundles) {
      this.#leftovers.add(uid);
      this.#queue.add(uid);
    }
    for (const name of unknown) this.#ports.log.warn({ name }, 'not a bundle: left alone');
    this.#queue.start();
  }

  /** The host changed: Lease, templates or its object. */
  wakeAll(): void {
    // Bindings may move while the Lease is lost, also such as the watch has never shown.
    if (!this.#ports.host.leaseFresh()) this.#searchedAs = undefined;
    if (this.#searchedAs !== this.#ports.host.uid()) this.#queue.add(ALL_RUNNERS);
    for (const runner of this.#informer.store.list()) this.#queue.add(runner.metadata.uid);
    for (const session of this.sessions()) this.#queue.add(session.paths.uid);
    for (const uid of this.#elsewhere.keys()) this.#queue.add(uid);
  }

  /**
   * Nothing of any Runner is left on this host, and none that is bound to its object is still held for that. A hold
   * that stands for an earlier attempt is for whoever has the name next.
   */
  async isEmpty(): Promise<boolean> {
    const { host, bundles } = this.#ports;
    const isOurs = (runner: Runner): boolean => {
      const { binding } = runner.spec;
      return binding?.hostUID === host.uid() && attemptsHeldBy(host.name, runner).includes(binding.attempt);
    };
    if (this.#informer.store.list().some(isOurs)) return false;
    return (await bundles.list()).bundles.length === 0;
  }

  /** Runners that wait to be reconciled. */
  get queueDepth(): number {
    return this.#queue.depth;
  }

  sessions(): readonly VmSession[] {
    return this.#sessions.list();
  }

  /** Stops reconciling and lets go of all VMs, which run on. */
  async stop(): Promise<void> {
    await this.#queue.shutdown();
    await Promise.all(this.sessions().map((session) => session.stop()));
  }

  async #reconcile(uid: string): Promise<QueueResult> {
    const cached = this.#informer.store.by(BY_UID, uid)[0];
    const whereabouts = { cached, ref: this.#elsewhere.get(uid) };
    const observation = await observe(this.#ports, this.#sessions, uid, whereabouts, {
      isCleared: this.#leftovers.size === 0,
      boundHere: () => this.#informer.store.list(),
    });
    const isShownHere = cached !== undefined && observation?.facts.runner.is === 'bound';
    if (observation === undefined || isShownHere || isHeldByNobody(observation)) this.#elsewhere.delete(uid);
    if (observation === undefined || isSettled(observation)) this.#cleared(uid);
    if (observation === undefined || isUnwanted(observation)) this.#sessions.ages.forget(uid);
    if (observation === undefined) return undefined;
    const decision = decide(observation.facts);
    const acted = await act(this.#ports, this.#sessions, observation, decision);
    if (acted.stored !== undefined) this.#learn(acted.stored);
    for (const paths of acted.dropped) this.#sessions.drop(paths);
    if (acted.again) this.#queue.add(uid);
    this.#forgetIdle(observation);
    this.#onChange();
    const isUnshown = cached === undefined && observation.facts.runner.is === 'bound';
    const requeueAfterMs = earliest(decision.requeueAfterMs, isUnshown ? UNSHOWN_MS : undefined);
    return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
  }

  /** A leftover is wanted, gone, or not to be got rid of now: it holds up nothing any more. */
  #cleared(uid: string): void {
    if (this.#leftovers.delete(uid) && this.#leftovers.size === 0) this.wakeAll();
  }

  /** Runners that are bound elsewhere, and on which this host has a hold although it may know nothing of it. */
  async #searchAll(): Promise<QueueResult> {
    const uid = this.#ports.host.uid();
    const wasFresh = this.#ports.host.leaseFresh();
    for (const runner of await this.#ports.api.list()) {
      // What the informer shows of one that is bound elsewhere by now is old, and may lack the finalizer.
      const isBoundHere = runner.spec.binding?.hostName === this.#ports.host.name;
      const isShown = this.#informer.store.by(BY_UID, runner.metadata.uid).length > 0;
      if (!(isBoundHere && isShown) && this.#isHeld(runner)) this.#hasLeft(runner);
    }
    if (!wasFresh || !this.#ports.host.leaseFresh()) return { requeueAfterMs: WITHOUT_LEASE_MS };
    this.#searchedAs = uid;
    return undefined;
  }

  /** A Runner that is not in the informer, or not any more, may be bound elsewhere and still be held here. */
  #hasLeft(runner: Stored<Runner>): void {
    const { uid, namespace, name } = runner.metadata;
    if (this.#isHeld(runner)) this.#elsewhere.set(uid, { namespace, name });
    this.#queue.add(uid);
  }

  #isHeld(runner: Runner): boolean {
    return attemptsHeldBy(this.#ports.host.name, runner).length > 0;
  }

  /** What is bound elsewhere is none of the informer's objects. */
  #learn(runner: Stored<Runner>): void {
    if (runner.spec.binding?.hostName === this.#ports.host.name) this.#informer.learn(runner);
  }

  /** A session without a bundle holds nothing, but for what a Runner that is bound here waits for. */
  #forgetIdle({ session, facts }: Observation): void {
    if (facts.bundle !== undefined) return;
    const { runner, vm } = facts;
    const isSpent = isUnwanted({ facts }) || (runner.is === 'bound' && hasFailed(runner.runner));
    if (session.isIdle || (isSpent && vm === 'absent')) this.#sessions.drop(session.paths);
  }
}

/** The Runner is known not to be this host's, or not to be any more. */
const isUnwanted = ({ facts }: Pick<Observation, 'facts'>): boolean =>
  facts.runner.is === 'absent' || facts.runner.is === 'elsewhere';

/** Whether it is known what becomes of all that is here of a UID, and nothing of it is about to go. */
function isSettled({ facts }: Observation): boolean {
  const { purge } = facts.session;
  if (purge.state === 'running') return purge.failing !== undefined;
  return facts.runner.is === 'bound' && facts.strays.every(({ failing }) => failing);
}

/** Not so while nobody knows. */
const isHeldByNobody = ({ facts }: Observation): boolean =>
  facts.runner.is !== 'unknown' && facts.heldAttempts.length === 0;
