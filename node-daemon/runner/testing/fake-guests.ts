import type { GuestRunnerState, GuestStatus } from '../../../guest/protocol.ts';
import type { ScriptState } from '../../ssh/script.ts';
import type { BundlePaths } from '../../vm/driver.ts';
import type { FakeMachine, FakeVm } from '../../vm/fake/machine.ts';
import type { Guest, GuestAccess, GuestSession, LoginOptions, LoginResult } from '../ports.ts';

export type GuestCall = 'login' | 'startScript' | 'observeScript' | 'watchScript' | 'outputTail' | 'status';

/** One guest, as long as its VM lives. */
export interface FakeGuest {
  readonly vm: FakeVm;
  script: ScriptState;
  output: string;
  /** What was run. */
  readonly ran: string[];
  /** undefined: the agent does not answer. */
  agent: GuestRunnerState | undefined;
}

interface Fault {
  readonly call: GuestCall;
  readonly error: Error;
  readonly applied: boolean;
}

/**
 * The guests of a {@link FakeMachine}: what goes on existing when a daemon dies, and goes with its VM. Calls wait
 * for {@link changed}, never for time, but for the limit that they are given.
 */
export class FakeGuests {
  /** Whether guests let anybody in. */
  sshUp = true;
  /** What a login comes to instead, for all guests. */
  loginResult: LoginResult | undefined;
  /** Exit code of scripts that are over as soon as they are started; undefined: they run on. */
  exitsAtOnce: number | undefined = 0;
  /** Every script that was handed to a guest, whether or not it was run. */
  readonly given: { readonly uid: string; readonly attempt: number; readonly script: string }[] = [];
  readonly calls: GuestCall[] = [];
  readonly #machine: FakeMachine;
  readonly #guests = new Map<FakeVm, FakeGuest>();
  readonly #dead = new Set<FakeVm>();
  readonly #sessions = new Set<() => void>();
  #faults: Fault[] = [];
  #waiters: (() => void)[] = [];

  constructor(machine: FakeMachine) {
    this.#machine = machine;
  }

  /** The guest in the bundle's VM; undefined where none runs. */
  of(bundle: BundlePaths): FakeGuest | undefined {
    const vm = this.#machine.vm(bundle);
    if (vm === undefined) return undefined;
    const known = this.#guests.get(vm);
    if (known !== undefined) return known;
    const guest: FakeGuest = { vm, script: { state: 'absent' }, output: '', ran: [], agent: 'NoRunner' };
    this.#guests.set(vm, guest);
    void vm.exited.then(() => this.#dead.add(vm));
    return guest;
  }

  /** Guests that ever were. */
  all(): FakeGuest[] {
    return [...this.#guests.values()];
  }

  get openSessions(): number {
    return this.#sessions.size;
  }

  /** The next `times` calls of the kind fail; `applied`: after they have taken effect. */
  fail(call: GuestCall, error: Error, { applied = false, times = 1 } = {}): void {
    for (let left = times; left > 0; left -= 1) this.#faults.push({ call, error, applied });
  }

  /** Those who wait look again. */
  changed(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  exit(bundle: BundlePaths, exitCode: number, output = ''): void {
    const guest = this.of(bundle);
    if (guest === undefined) throw new Error('there is no such guest');
    guest.script = { state: 'exited', exitCode };
    guest.output = output;
    this.changed();
  }

  /** All connections break. */
  cut(): void {
    for (const close of [...this.#sessions]) close();
  }

  /** What one daemon reaches guests through. `limit` calls back when its clock has passed so much. */
  access(limit: (ms: number, callback: () => void) => { cancel(): void }): GuestAccess {
    return {
      login: (guest, options) => this.#login(guest, options, limit),
      status: async (agent, _token, signal) => {
        this.#enter('status');
        signal.throwIfAborted();
        return this.#status(agent);
      },
    };
  }

  async #login(
    { paths }: Guest,
    { timeoutMs, nudge, signal }: LoginOptions,
    limit: (ms: number, callback: () => void) => { cancel(): void },
  ): Promise<LoginResult> {
    this.#enter('login');
    let over = false;
    const timer = limit(timeoutMs, () => {
      over = true;
      this.changed();
    });
    const unsubscribe = nudge(() => this.changed());
    try {
      await this.#until(() => over || this.loginResult !== undefined || this.#answers(paths), signal);
    } finally {
      timer.cancel();
      unsubscribe();
    }
    if (this.loginResult !== undefined) return this.loginResult;
    const guest = this.#answers(paths) ? this.of(paths) : undefined;
    return guest === undefined
      ? { state: 'failed', message: 'nothing answered' }
      : { state: 'connected', session: this.#session(guest, paths) };
  }

  #answers(paths: BundlePaths): boolean {
    return this.sshUp && this.#machine.vm(paths)?.state === 'running';
  }

  #session(guest: FakeGuest, { uid, attempt }: BundlePaths): GuestSession {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    let open = true;
    const close = (): void => {
      open = false;
      this.#sessions.delete(close);
      resolve();
      this.changed();
    };
    this.#sessions.add(close);
    void guest.vm.exited.then(close);
    const call = async <T>(name: GuestCall, signal: AbortSignal, run: () => T): Promise<T> => {
      const fault = this.#enter(name);
      signal.throwIfAborted();
      if (!open) throw new Error('the connection has ended');
      const result = run();
      if (fault !== undefined) throw fault.error;
      return result;
    };
    return {
      hostKey: 'ssh-ed25519 AAAAguest',
      closed,
      close,
      startScript: (script, signal) =>
        call('startScript', signal, () => {
          this.given.push({ uid, attempt, script });
          return this.#start(guest, script);
        }),
      observeScript: (signal) => call('observeScript', signal, () => guest.script),
      outputTail: (signal) => call('outputTail', signal, () => guest.output),
      watchScript: async (signal) => {
        await call('watchScript', signal, () => undefined);
        await this.#until(() => !open || guest.script.state !== 'running', signal);
        if (!open) throw new Error('the connection has ended');
        const { script } = guest;
        if (script.state === 'running') throw new Error('unreachable');
        return script;
      },
    };
  }

  /** At most once, as in a real guest. */
  #start(guest: FakeGuest, script: string): 'started' | 'alreadyStarted' {
    if (guest.script.state !== 'absent' && guest.script.state !== 'incomplete') return 'alreadyStarted';
    guest.ran.push(script);
    guest.script =
      this.exitsAtOnce === undefined
        ? { state: 'running', pid: 77 }
        : { state: 'exited', exitCode: this.exitsAtOnce };
    return 'started';
  }

  #status({ host, port }: { host: string; port: number }): GuestStatus {
    const guest = this.all().find(({ vm }) => !this.#dead.has(vm) && vm.listens.includes(`${host}:${port}`));
    if (guest?.agent === undefined) throw new Error('the agent does not answer');
    const { uid, attempt } = guest.vm.identity;
    return {
      version: '0',
      hostname: 'guest',
      uid,
      attempt,
      bootId: guest.vm.process.startTime,
      uptimeSeconds: 1,
      mac: '02:00:00:00:00:01',
      ip: '10.0.2.15',
      state: guest.agent,
    };
  }

  #enter(call: GuestCall): Fault | undefined {
    this.calls.push(call);
    const fault = this.#faults.find((one) => one.call === call);
    if (fault === undefined) return undefined;
    this.#faults = this.#faults.filter((one) => one !== fault);
    if (!fault.applied) throw fault.error;
    return fault;
  }

  async #until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    while (!holds()) {
      signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
      await promise;
    }
    signal.throwIfAborted();
  }
}
