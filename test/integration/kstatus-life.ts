import { decide as decideForWaiting } from '../../controller/runner/decide.ts';
import type { Verdict } from '../../controller/runner/explain.ts';
import type { Host } from '../../crds/host.ts';
import { finalizerName } from '../../crds/meta.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { writeStatus } from '../../kube/status.ts';
import { decide as decideOnHost } from '../../node-daemon/runner/decide.ts';
import type { BundleFacts, Outcome, RunnerFacts, SessionFacts } from '../../node-daemon/runner/facts.ts';
import { timeoutsOf } from '../../node-daemon/runner/timeouts.ts';
import { linuxHost } from '../builders/host.ts';
import type { Overrides } from '../builders/overrides.ts';
import { binding, runner } from '../builders/runner.ts';
import { stored, uniqueName } from '../builders/stored.ts';

/** Long enough for a phase to be worth a write. */
const LASTING_MS = 1_000;

const IDLE: SessionFacts = {
  launch: { state: 'idle' },
  ssh: { state: 'idle' },
  script: { state: 'unobserved' },
  scriptWatched: false,
  gatePassedHere: false,
  purge: { state: 'idle' },
};

/**
 * A Runner on a real API server whose status is what controller and node daemon decide to write; the facts that
 * they decide on are made up. Each step makes the object what it is from then on.
 */
export class RunnerLife {
  runner: Stored<Runner>;
  readonly #runners: Resources<Runner>;
  readonly #host: Stored<Host> = stored(linuxHost({ metadata: { name: uniqueName('host') } }));
  readonly #now = Date.now();
  #attempt = 0;

  private constructor(runners: Resources<Runner>, created: Stored<Runner>) {
    this.#runners = runners;
    this.runner = created;
  }

  static async begin(
    client: KubeClient,
    namespace: string,
    overrides?: Overrides<Runner>,
  ): Promise<RunnerLife> {
    const runners = client.resources<Runner>(RUNNERS);
    const { status: _, ...manifest } = runner({ ...overrides, metadata: { namespace } });
    return new RunnerLife(runners, await runners.create(manifest));
  }

  get hostName(): string {
    return this.#host.metadata.name;
  }

  async waits(verdict: Verdict): Promise<void> {
    await this.#write(this.#decideWaiting({ verdict, host: 'unknown' }));
  }

  async isBound(): Promise<void> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    const finalizers = [finalizerName(this.hostName, attempt)];
    const spec = { binding: binding(this.#host, { attempt }) };
    this.runner = await this.#runners.patch(this.runner.metadata, this.runner.metadata.resourceVersion, {
      metadata: { finalizers },
      spec,
    });
  }

  async clones(): Promise<void> {
    const launch = { state: 'running', forMs: LASTING_MS } as const;
    await this.#daemonSees({ vm: 'unknown', session: { ...IDLE, launch } });
  }

  async boots(): Promise<void> {
    await this.#daemonSees({ vm: 'present', bundle: this.#bundle() });
  }

  async answersSsh(): Promise<void> {
    await this.#daemonSees({ vm: 'present', bundle: this.#bundle(this.#reached()) });
  }

  async runsScript(): Promise<void> {
    const session: SessionFacts = {
      ...IDLE,
      ssh: { state: 'connected' },
      script: { state: 'running' },
      scriptWatched: true,
      gatePassedHere: true,
    };
    await this.#daemonSees({ vm: 'present', session, bundle: this.#bundle(this.#scripted()) });
  }

  async isReady(): Promise<void> {
    await this.#daemonSees({ vm: 'present', bundle: this.#bundle(this.#ready()) });
  }

  async losesHost(): Promise<void> {
    await this.#write(this.#decideWaiting({ verdict: undefined, host: 'stale' }));
  }

  /** The VM is being destroyed, for an outcome or because the Runner is being deleted. */
  async isTornDown(outcome?: Outcome): Promise<void> {
    const bundle = this.#bundle({ ...this.#ready(), stage: 'TearingDown', outcome });
    const purge = { state: 'running', forMs: LASTING_MS } as const;
    await this.#daemonSees({ vm: 'unknown', session: { ...IDLE, purge }, bundle });
  }

  /** `reached`: how far it had come. */
  async isOver(outcome: Outcome, reached: 'Booting' | 'Scripted' | 'Ready' = 'Ready'): Promise<void> {
    const far = { Booting: {}, Scripted: this.#scripted(), Ready: this.#ready() }[reached];
    await this.#daemonSees({ vm: 'absent', bundle: this.#bundle({ ...far, stage: 'Purged', outcome }) });
  }

  /** The object stays for the finalizer of its VM. */
  async isDeleted(): Promise<void> {
    await this.#runners.delete(this.runner.metadata);
    const left = await this.#runners.get(this.runner.metadata);
    if (left === undefined) throw new Error('the Runner has gone at once: it had no finalizer');
    this.runner = left;
  }

  outcome(phase: Outcome['phase'], reason: Outcome['reason'], setup?: Outcome['setup']): Outcome {
    return { phase, reason, message: `as ${reason} says`, at: this.#now - LASTING_MS, setup };
  }

  #bundle(overrides: Partial<BundleFacts> = {}): BundleFacts {
    const hostUid = this.#host.metadata.uid;
    const startedAt = this.#now - 8_000;
    return { attempt: this.#attempt, hostUid, stage: 'Started', cloneMs: 21, startedAt, ...overrides };
  }

  #reached(): Partial<BundleFacts> {
    return { sshReadyAt: this.#now - 3_000, bootToSshMs: 5_000, hostKey: 'ssh-ed25519 AAAA' };
  }

  #scripted(): Partial<BundleFacts> {
    return { ...this.#reached(), scriptStartedAt: this.#now - 2_900 };
  }

  #ready(): Partial<BundleFacts> {
    const readyAt = this.#now - 2_000;
    return { ...this.#scripted(), setupMs: 900, readyAt, readyReason: 'ScriptSucceeded' };
  }

  #decideWaiting(facts: {
    verdict: Verdict | undefined;
    host: 'stale' | 'unknown';
  }): RunnerStatus | undefined {
    return decideForWaiting({
      runner: this.runner,
      sinceToldMs: undefined,
      deadHolds: [],
      lostHolders: [],
      ageMs: 0,
      now: this.#now,
      ...facts,
    }).status;
  }

  async #daemonSees(facts: Partial<RunnerFacts> & Pick<RunnerFacts, 'vm'>): Promise<void> {
    const { name, uid } = this.#host.metadata;
    const { bundle } = facts;
    const since = (time: number | undefined): number | undefined =>
      time === undefined ? undefined : this.#now - time;
    const given = {
      now: this.#now,
      leaseFresh: true,
      host: { name, uid, state: 'live', isCleared: true },
      runner: { is: 'bound', runner: this.runner },
      attempt: this.#attempt,
      ages: {
        started: since(bundle?.startedAt),
        sshReady: since(bundle?.sshReadyAt),
        scriptStarted: since(bundle?.scriptStartedAt),
        ready: since(bundle?.readyAt),
      },
      timeouts: timeoutsOf(this.runner.spec, undefined),
      strays: [],
      heldAttempts: [this.#attempt],
      session: IDLE,
      guestAgent: true,
      endpoint: { host: '127.65.0.2', port: 2222, user: 'runner', guestIp: '10.0.2.15' },
      ...facts,
    } as const;
    await this.#write(decideOnHost(given).status);
  }

  async #write(status: RunnerStatus | undefined): Promise<void> {
    if (status === undefined) throw new Error('these facts call for no write');
    const { written, object } = await writeStatus<Runner>(this.#runners, this.runner, status);
    if (!written) throw new Error('the status says so already');
    this.runner = object;
  }
}
