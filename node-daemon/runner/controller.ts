import type { Runner } from '../../crds/runner.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Informer } from '../../kube/informer.ts';
import type { Stored } from '../../kube/object.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import { act, StaleRunnerError } from './act.ts';
import { decide } from './decide.ts';
import { type Observation, observe } from './observe.ts';
import type { RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';
import { Sessions } from './sessions.ts';

/** Name of the informer's index by UID. */
export const BY_UID = 'uid';

/** Runners reconciled at once. Reconciles are short: all that takes long is a session's work. */
const CONCURRENCY = 8;

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

  constructor({ ports, informer, onChange, onFailure }: RunnerControllerOptions) {
    this.#ports = ports;
    this.#informer = informer;
    this.#onChange = onChange ?? (() => {});
    this.#sessions = new Sessions(ports, (uid) => this.#queue.add(uid));
    this.#queue = new WorkQueue({
      clock: ports.clock,
      concurrency: CONCURRENCY,
      handle: (uid) => this.#reconcile(uid),
      onError: (runnerUid, error, failures, retryInMs) => {
        onFailure?.();
        // Somebody else wrote first: the informer brings what they wrote.
        if (isConflict(error) || error instanceof StaleRunnerError) return;
        ports.log.warn(
          { err: error, runnerUid, failures, retryInMs },
          'reconcile failed; it will be tried again',
        );
      },
    });
  }

  /**
   * Begins once the informer has synced. Bundles that no Runner of the informer accounts for are looked
   * into as well: lines 4 and 11 of the binding protocol.
   */
  async start(): Promise<void> {
    const enqueue = (runner: Stored<Runner>): void => this.#queue.add(runner.metadata.uid);
    this.#informer.on({ added: enqueue, updated: (_, runner) => enqueue(runner), deleted: enqueue });
    await this.#informer.synced;
    this.wakeAll();
    const { bundles, unknown } = await this.#ports.bundles.list();
    for (const { uid } of bundles) this.#queue.add(uid);
    for (const name of unknown) this.#ports.log.warn({ name }, 'not a bundle: left alone');
    this.#queue.start();
  }

  /** The host changed: Lease, templates or its object. */
  wakeAll(): void {
    for (const runner of this.#informer.store.list()) this.#queue.add(runner.metadata.uid);
    for (const session of this.sessions()) this.#queue.add(session.paths.uid);
  }

  /** Nothing of any Runner is left on this host. */
  async isEmpty(): Promise<boolean> {
    return (await this.#ports.bundles.list()).bundles.length === 0;
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
    const observation = await observe(this.#ports, this.#sessions, uid, cached);
    if (observation === undefined) {
      for (const { paths } of this.#sessions.ofUid(uid)) this.#sessions.drop(paths);
      return undefined;
    }
    const decision = decide(observation.facts);
    const acted = await act(this.#ports, this.#sessions, observation, decision);
    if (acted.stored !== undefined) this.#informer.learn(acted.stored);
    for (const paths of acted.dropped) this.#sessions.drop(paths);
    if (acted.again) this.#queue.add(uid);
    this.#forgetIdle(observation);
    this.#onChange();
    const { requeueAfterMs } = decision;
    return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
  }

  /** A session without a bundle, without work and without a failure to remember holds nothing. */
  #forgetIdle({ session, facts }: Observation): void {
    const { launch, purge } = session.facts;
    if (facts.bundle === undefined && launch.state === 'idle' && purge.state === 'idle') {
      this.#sessions.drop(session.paths);
    }
  }
}
