import type { Runner } from '../../crds/runner.ts';
import type { GuestReport, GuestRunnerState } from '../../guest/protocol.ts';
import { sleep } from '../../kube/clock.ts';
import { Elapsed } from '../../kube/elapsed.ts';
import type { Stored } from '../../kube/object.ts';
import { watchGuest } from '../guest-watch.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { RuntimeMetadata } from '../vm/metadata.ts';
import type { Claim } from './capacity.ts';
import type { Outcome, SessionFacts } from './facts.ts';
import { GuestConnection } from './guest-connection.ts';
import { launch } from './launch.ts';
import type { RunnerPorts } from './ports.ts';
import { VmConnection } from './vm-connection.ts';
import { Works } from './works.ts';

/** Pause between two tries of a purge that fails: doubled each time, up to the second. */
const PURGE_RETRY_MS = { first: 200, most: 30_000 };
/** How often a purge looks whether the Lease is back. */
const WITHOUT_LEASE_MS = 1_000;

type OwnFacts = Pick<SessionFacts, 'launch' | 'purge' | 'guest' | 'gatePassedHere'>;

/**
 * What this daemon process is doing with one VM (Runner UID and attempt), and what it came to know. Each
 * method starts one piece of work and returns at once; `changed` is called whenever a fact changed. Works of
 * one session never overlap in what they touch: `purge` first ends all others. Nothing here is durable:
 * after a restart a session begins empty, and learns what it needs from bundle, VM and guest.
 */
export class VmSession {
  readonly paths: BundlePaths;
  /** Since moments that the bundle's metadata records. */
  readonly elapsed: Elapsed;
  readonly vm: VmConnection;
  readonly guest: GuestConnection;
  readonly #ports: RunnerPorts;
  readonly #changed: () => void;
  readonly #works: Works;
  /** The purge, which outlives all other works. */
  readonly #purging: Works;
  #facts: OwnFacts = { launch: { state: 'idle' }, purge: { state: 'idle' }, gatePassedHere: false };
  /** When launch or purge began, on the monotonic clock. */
  #begunAt = 0;
  #gatePassedAt: number | undefined;
  #areReportsExpected = false;
  #isPurged = false;
  /** How the Runner ended, where the disk had no room to record it: the purge makes up for that. */
  outcome: Outcome | undefined;
  /** What this host keeps for it, from before its launch on: line 3 of the binding protocol. */
  claim: Claim | undefined;

  constructor(ports: RunnerPorts, paths: BundlePaths, changed: () => void) {
    this.#ports = ports;
    this.paths = paths;
    this.#changed = changed;
    this.elapsed = new Elapsed(ports.clock);
    this.#works = new Works(ports.log);
    this.#purging = new Works(ports.log);
    this.vm = new VmConnection(ports, paths, this.#works, changed);
    this.guest = new GuestConnection(ports, this.#works, changed);
  }

  get facts(): SessionFacts {
    const { launch, purge } = this.#facts;
    const now = this.#ports.clock.monotonic();
    const forMs = now - this.#begunAt;
    return {
      ...this.#facts,
      ...this.guest.facts,
      gatePassedForMs: this.#gatePassedAt === undefined ? undefined : now - this.#gatePassedAt,
      launch: launch.state === 'running' ? { ...launch, forMs } : launch,
      purge: purge.state === 'running' ? { ...purge, forMs } : purge,
    };
  }

  /** Nothing is left of VM and files, and nothing more can be done with this session. */
  get isPurged(): boolean {
    return this.#isPurged;
  }

  /** Whether nothing was begun with it. */
  get isUnused(): boolean {
    const { launch, purge } = this.#facts;
    return !this.#isPurged && launch.state === 'idle' && purge.state === 'idle';
  }

  /** Whether forgetting it would lose nothing. */
  get isIdle(): boolean {
    const { launch, purge } = this.#facts;
    const holds = this.vm.isOpen || !this.#works.isEmpty;
    return !holds && launch.state === 'idle' && purge.state === 'idle';
  }

  /**
   * True before the write that passes the gate is sent: whether it took effect is read from the object, then or
   * later. False again where the API server refused it: then the gate was not passed here, if it was at all.
   */
  setGatePassedHere(gatePassedHere: boolean): void {
    // Tells nobody: the pass that it is part of goes on.
    this.#facts = { ...this.#facts, gatePassedHere };
    this.#gatePassedAt = gatePassedHere ? this.#ports.clock.monotonic() : undefined;
  }

  /** Makes the guest's reports welcome after a restart. Without its token the guest is not heard; it runs on. */
  async welcomeReports(metadata: RuntimeMetadata): Promise<void> {
    try {
      await this.#expectReports(metadata);
    } catch (error) {
      this.#ports.log.warn({ err: error, bundle: this.paths.dir }, "the guest's reports cannot be received");
    }
  }

  launch(runner: Stored<Runner>): void {
    this.#begin({ launch: { state: 'running', forMs: 0 } });
    this.#works.run(async (signal) => {
      const result = await launch(this.#ports, runner, this.paths, signal, (metadata) =>
        this.#expectReports(metadata),
      );
      if (result.state === 'started') await this.vm.attach(result.control);
      if (result.state === 'withdrawn') this.#ports.log.info({ why: result.why }, 'launch withdrawn');
      this.#set({ launch: result.state === 'failed' ? result : { state: 'idle' } });
    });
  }

  /**
   * Ends all works, then the VM, then its files, until only the tombstone is left; tried again with back-off
   * until it is done. Does nothing while one is under way.
   */
  purge(): void {
    if (this.#facts.purge.state === 'running') return;
    this.#begin({ purge: { state: 'running', forMs: 0 } });
    this.#purging.run(async (signal) => {
      await this.#letGo();
      const { first, most } = PURGE_RETRY_MS;
      for (let pauseMs = first; !(await this.#tryPurge(signal)); pauseMs = Math.min(pauseMs * 2, most)) {
        await sleep(this.#ports.clock, pauseMs, signal);
        if (signal.aborted) return;
      }
      this.#isPurged = true;
      this.#set({ purge: { state: 'idle' }, launch: { state: 'idle' } });
    });
  }

  /** Lets go of everything but the VM, which runs on. A purge that is under way ends where it is. */
  async stop(): Promise<void> {
    await Promise.all([this.#letGo(), this.#purging.end()]);
  }

  async #tryPurge(signal: AbortSignal): Promise<boolean> {
    const { clock, host, runtime, bundles, log } = this.#ports;
    // Line 13: a Lease that ran out since the purge began ends the trying until it is back.
    while (!host.leaseFresh()) {
      await sleep(clock, WITHOUT_LEASE_MS, signal);
      if (signal.aborted) return false;
    }
    try {
      await runtime.purge(this.paths);
      await bundles.purgeFiles(this.paths, clock.now());
      await this.#recordOutcome();
      return true;
    } catch (error) {
      log.warn({ err: error, bundle: this.paths.dir }, 'purge failed; it will be tried again');
      this.#purgeFails(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** By now there is room; where there is none still, the Runner ends nonetheless, with less to tell. */
  async #recordOutcome(): Promise<void> {
    if (this.outcome === undefined) return;
    const { bundles, log } = this.#ports;
    await bundles.update(this.paths, { outcome: this.outcome }).catch((error: unknown) => {
      log.warn({ err: error, bundle: this.paths.dir }, 'how the Runner ended cannot be recorded');
    });
  }

  /** The first reason is told until the purge is done: others may differ in numbers only. */
  #purgeFails(failing: string): void {
    const { purge } = this.#facts;
    if (purge.state === 'running' && purge.failing === undefined) this.#set({ purge: { ...purge, failing } });
  }

  async #letGo(): Promise<void> {
    const ended = this.#works.end();
    this.guest.close();
    this.vm.close();
    const { uid, attempt } = this.paths;
    this.#ports.guestLink.forget({ uid, attempt });
    await ended;
  }

  async #expectReports(metadata: RuntimeMetadata): Promise<void> {
    const { guest, prepared } = metadata;
    if (this.#areReportsExpected || guest?.agent !== true || prepared === undefined) return;
    this.#areReportsExpected = true;
    const token = await this.#ports.secrets.token(this.paths);
    if (this.#works.hasEnded) return;
    const { uid, attempt } = this.paths;
    const { mac } = prepared.endpoints;
    this.#ports.guestLink.expect({ token, mac, uid, attempt }, (report) => this.#onReport(report));
    this.#works.run((signal) =>
      watchGuest({
        metadata,
        token,
        guests: this.#ports.guests,
        askAtOnce: metadata.startReturnedAt !== undefined,
        clock: this.#ports.clock,
        signal,
        onStatus: ({ state, ip }) => this.#onGuest(state, ip),
      }),
    );
  }

  #onReport(report: GuestReport): void {
    if (report.event === 'Ready') this.guest.nudge();
    this.#onGuest(report.state, report.ip);
  }

  #onGuest(state: GuestRunnerState, ip: string): void {
    const before = this.#facts.guest;
    if (before?.state !== state || before.ip !== ip) this.#set({ guest: { state, ip } });
  }

  #begin(facts: Partial<OwnFacts>): void {
    this.#begunAt = this.#ports.clock.monotonic();
    this.#set(facts);
  }

  #set(facts: Partial<OwnFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
    this.#changed();
  }
}
