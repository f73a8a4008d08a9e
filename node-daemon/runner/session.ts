import type { Runner } from '../../crds/runner.ts';
import type { GuestReport, GuestRunnerState } from '../../guest/protocol.ts';
import { sleep } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import { watchGuest } from '../guest-watch.ts';
import { ScriptError } from '../ssh/script.ts';
import type { BundlePaths, VmControl } from '../vm/driver.ts';
import type { RuntimeMetadata } from '../vm/metadata.ts';
import { Elapsed } from './elapsed.ts';
import type { ObservedVm, SessionFacts } from './facts.ts';
import { launch } from './launch.ts';
import type { Guest, GuestSession, RunnerPorts } from './ports.ts';
import { look, readScript, startInGuest, watch } from './setup-script.ts';

/** Longest pause between two tries of a purge that fails. */
const PURGE_RETRY_MAX_MS = 30_000;
const PURGE_RETRY_MIN_MS = 200;
/** How long a reconnection to a guest that was SSH-ready before may take until it is tried afresh. */
const RECONNECT_TIMEOUT_MS = 30_000;

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
  readonly #ports: RunnerPorts;
  readonly #changed: () => void;
  readonly #ended = new AbortController();
  readonly #works = new Set<Promise<void>>();
  readonly #nudges = new Set<() => void>();
  #facts: SessionFacts = {
    launch: { state: 'idle' },
    ssh: { state: 'idle' },
    script: { state: 'unobserved' },
    scriptWatched: false,
    gatePassedHere: false,
    purge: { state: 'idle' },
  };
  /** When facts were set, on the monotonic clock. */
  readonly #setAt = new Map<string, number>();
  #control: VmControl | undefined;
  #isStopped = false;
  #isPurged = false;
  /** On the monotonic clock. */
  #unknownSince: number | undefined;
  #ssh: GuestSession | undefined;
  #expected = false;
  #logsBounded = false;

  constructor(ports: RunnerPorts, paths: BundlePaths, changed: () => void) {
    this.#ports = ports;
    this.paths = paths;
    this.elapsed = new Elapsed(ports.clock);
    this.#changed = changed;
  }

  get facts(): SessionFacts {
    const { launch, purge, script } = this.#facts;
    const forMs = (fact: 'launch' | 'purge' | 'script') =>
      this.#ports.clock.monotonic() - (this.#setAt.get(fact) ?? 0);
    return {
      ...this.#facts,
      launch: launch.state === 'running' ? { ...launch, forMs: forMs('launch') } : launch,
      purge: purge.state === 'running' ? { ...purge, forMs: forMs('purge') } : purge,
      script: script.state === 'exited' ? { ...script, forMs: forMs('script') } : script,
    };
  }

  /** Nothing is left of VM and files, and nothing more can be done with this session. */
  get isPurged(): boolean {
    return this.#isPurged;
  }

  /** Whether forgetting it would lose nothing. */
  get isIdle(): boolean {
    const { launch, purge } = this.#facts;
    const holds = this.#control !== undefined || this.#works.size > 0;
    return !holds && launch.state === 'idle' && purge.state === 'idle';
  }

  /**
   * True before the write that passes the gate is sent: whether it took effect is read from the object, then or
   * later. False again where the API server refused it: then the gate was not passed here, if it was at all.
   */
  setGatePassedHere(gatePassedHere: boolean): void {
    // Tells nobody: the pass that it is part of goes on.
    this.#facts = { ...this.#facts, gatePassedHere };
  }

  /** Costs nothing while the control connection stands; otherwise asks socket and process table. */
  async observeVm(): Promise<ObservedVm> {
    if (this.#control === undefined) {
      const seen = await this.#ports.runtime.observe(this.paths);
      this.#unknownSince =
        seen.state === 'unknown' ? (this.#unknownSince ?? this.#ports.clock.monotonic()) : undefined;
      if (seen.state !== 'present') return seen.state;
      await this.#attach(seen.control);
    }
    return this.#isStopped ? 'stopped' : 'present';
  }

  /** How long {@link observeVm} has found the VM `unknown`. */
  get unknownForMs(): number | undefined {
    return this.#unknownSince === undefined ? undefined : this.#ports.clock.monotonic() - this.#unknownSince;
  }

  /** Makes the guest's reports welcome after a restart. Without its token the guest is not heard; it runs on. */
  async welcomeReports(metadata: RuntimeMetadata): Promise<void> {
    try {
      await this.#expectReports(metadata);
    } catch (error) {
      this.#ports.log.warn({ err: error, bundle: this.paths.dir }, "the guest's reports cannot be received");
    }
  }

  async #expectReports(metadata: RuntimeMetadata): Promise<void> {
    if (this.#expected || metadata.guest?.agent !== true || metadata.prepared === undefined) return;
    this.#expected = true;
    const token = await this.#ports.secrets.token(this.paths);
    if (this.#ended.signal.aborted) return;
    const { mac } = metadata.prepared.endpoints;
    const { uid, attempt } = this.paths;
    this.#ports.guestLink.expect({ token, mac, uid, attempt }, (report) => this.#onReport(report));
    this.#work((signal) =>
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

  launch(runner: Stored<Runner>): void {
    this.#set({ launch: { state: 'running', forMs: 0 } });
    this.#work(async (signal) => {
      const result = await launch(this.#ports, runner, this.paths, signal, (metadata) =>
        this.#expectReports(metadata),
      );
      if (result.state === 'started') await this.#attach(result.control);
      if (result.state === 'withdrawn') this.#ports.log.info({ why: result.why }, 'launch withdrawn');
      this.#set({ launch: result.state === 'failed' ? result : { state: 'idle' } });
    });
  }

  /**
   * `onReady` makes SSH-readiness durable before it becomes a fact. `keep`: the session is wanted afterwards,
   * for a script.
   */
  awaitSsh(
    guest: Guest,
    {
      timeoutMs,
      keep,
      onReady,
    }: { timeoutMs: number; keep: boolean; onReady?: (session: GuestSession) => Promise<void> },
  ): void {
    this.#set({ ssh: { state: 'connecting' } });
    this.#work(async (signal) => {
      const nudge = (listener: () => void) => {
        this.#nudges.add(listener);
        return () => this.#nudges.delete(listener);
      };
      const result = await this.#ports.guests.login(guest, { timeoutMs, nudge, signal });
      if (result.state !== 'connected') {
        this.#set({ ssh: result.state === 'refused' ? result : { state: 'idle' } });
        return;
      }
      await onReady?.(result.session);
      if (keep) this.#keep(result.session);
      else this.#closeUnneeded(result.session);
    });
  }

  reconnect(guest: Guest): void {
    this.awaitSsh(guest, { timeoutMs: RECONNECT_TIMEOUT_MS, keep: true });
  }

  /** `onStarted` makes the start durable. */
  startScript(runner: Stored<Runner>, onStarted: () => Promise<void>): void {
    this.#set({ script: { state: 'starting' } });
    this.#overSsh(async (session, signal) => {
      const waiting = (why: string): void => this.#set({ script: { state: 'starting', waitingFor: why } });
      const text = await readScript(this.#ports, runner, waiting, signal);
      const script = await startInGuest(this.#ports, session, text, signal);
      await onStarted();
      this.#set({ script });
    });
  }

  observeScript(): void {
    this.#set({ script: { state: 'starting' } });
    this.#overSsh(async (session, signal) => this.#set({ script: await look(this.#ports, session, signal) }));
  }

  watchScript(): void {
    this.#set({ scriptWatched: true });
    this.#overSsh(async (session, signal) => {
      this.#set({ script: await watch(this.#ports, session, signal), scriptWatched: false });
      this.#dropSsh();
    });
  }

  /**
   * Ends all works, then the VM, then its files, until only the tombstone is left; tried again with back-off
   * until it is done.
   */
  purge(): void {
    this.#set({ purge: { state: 'running', forMs: 0 } });
    const { clock, runtime, bundles, log } = this.#ports;
    const run = async (): Promise<void> => {
      await this.stop();
      for (let pause = PURGE_RETRY_MIN_MS; ; pause = Math.min(pause * 2, PURGE_RETRY_MAX_MS)) {
        try {
          await runtime.purge(this.paths);
          await bundles.purgeFiles(this.paths, clock.now());
          return;
        } catch (error) {
          log.warn({ err: error, bundle: this.paths.dir }, 'purge failed; it will be tried again');
          await sleep(clock, pause);
        }
      }
    };
    void run().then(() => {
      this.#isPurged = true;
      this.#set({ purge: { state: 'idle' }, launch: { state: 'idle' } });
    });
  }

  /** Lets go of everything but the VM, which runs on. */
  async stop(): Promise<void> {
    this.#ended.abort();
    this.#dropSsh();
    this.#control?.close();
    this.#control = undefined;
    this.#ports.guestLink.forget({ uid: this.paths.uid, attempt: this.paths.attempt });
    await Promise.allSettled([...this.#works]);
  }

  async #attach(control: VmControl): Promise<void> {
    this.#control?.close();
    if (this.#ended.signal.aborted) {
      control.close();
      return;
    }
    this.#control = control;
    this.#boundLogs();
    control.onStateChange((state) => {
      this.#isStopped = state === 'stopped';
      this.#changed();
    });
    void control.closed.then(() => {
      if (this.#control !== control) return;
      this.#control = undefined;
      this.#changed();
    });
    // One that does not say is taken for running, until its connection ends or its socket is dead.
    this.#isStopped = (await control.state().catch(() => 'running')) === 'stopped';
  }

  /** What a guest writes to its console must not fill the host's disk. */
  #boundLogs(): void {
    if (this.#logsBounded) return;
    this.#logsBounded = true;
    this.#work((signal) => this.#ports.runtime.keepLogsBounded(this.paths, signal));
  }

  #keep(session: GuestSession): void {
    if (this.#ended.signal.aborted) {
      session.close();
      return;
    }
    this.#ssh = session;
    this.#set({ ssh: { state: 'connected' } });
    void session.closed.then(() => {
      if (this.#ssh === session) this.#dropSsh();
    });
  }

  #closeUnneeded(session: GuestSession): void {
    session.close();
    this.#set({ ssh: { state: 'idle' } });
  }

  #dropSsh(): void {
    this.#ssh?.close();
    this.#ssh = undefined;
    if (this.#facts.ssh.state === 'connected') this.#set({ ssh: { state: 'idle' } });
  }

  #onReport(report: GuestReport): void {
    if (report.event === 'Ready') for (const nudge of this.#nudges) nudge();
    this.#onGuest(report.state, report.ip);
  }

  #onGuest(state: GuestRunnerState, ip: string): void {
    const before = this.#facts.guest;
    if (before?.state !== state || before.ip !== ip) this.#set({ guest: { state, ip } });
  }

  /** Work that a lost connection ends: the script is then looked at again over a fresh one. */
  #overSsh(work: (session: GuestSession, signal: AbortSignal) => Promise<void>): void {
    this.#work(async (signal) => {
      const session = this.#ssh;
      try {
        if (session === undefined) throw new Error('there is no SSH session');
        await work(session, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ScriptError && error.kind === 'guest') {
          this.#set({ script: { state: 'impossible', message: error.message }, scriptWatched: false });
          return;
        }
        this.#ports.log.info({ err: error }, 'the SSH session was lost; the script is looked at again');
        this.#dropSsh();
        this.#set({ script: { state: 'unobserved' }, scriptWatched: false });
      }
    });
  }

  #work(run: (signal: AbortSignal) => Promise<void>): void {
    const { signal } = this.#ended;
    const work = run(signal).catch((error: unknown) => {
      if (!signal.aborted) this.#ports.log.error({ err: error }, 'unexpected failure');
    });
    const tracked = work.finally(() => this.#works.delete(tracked));
    this.#works.add(tracked);
  }

  #set(facts: Partial<SessionFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
    for (const name of Object.keys(facts)) this.#setAt.set(name, this.#ports.clock.monotonic());
    this.#changed();
  }
}
