import { type Clock, systemClock, type Timer } from '../../kube/clock.ts';
import { type Attempt, type AttemptsState, LOGIN_LIMIT_MS, nextStep } from './attempts.ts';
import { SshError } from './errors.ts';
import { Handshake } from './handshake.ts';
import { dial, type SshSession, type SshTarget } from './session.ts';

export interface WaitOptions {
  /** For the whole wait. */
  readonly timeoutMs: number;
  /** Pause after an attempt that was refused or reset. Default: 100 ms. */
  readonly intervalMs?: number | undefined;
  /** Subscribes to the guest's reports that it is up, each of which hastens the next attempt. Returns the way out. */
  readonly nudge?: ((listener: () => void) => () => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

const INTERVAL_MS = 100;
/**
 * How long a server may go on refusing the login, or failing at it, before it is believed: while a guest
 * boots, its server is up a little before logins are let in.
 */
export const REFUSAL_LIMIT_MS = 30_000;

/**
 * Ends of an attempt that may come from the network, or from a hypervisor that does not forward yet; any other
 * is a sign of the guest's life.
 */
const NO_SIGN_OF_LIFE: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ETIMEDOUT',
  'EADDRNOTAVAIL',
]);

/**
 * Waits until an authenticated `true` exited 0, and returns the session that it ran in. Rejects with an
 * {@link SshError}: `hostKey` at once, `auth` or `protocol` where the server kept on refusing, `timeout`; or
 * with the signal's reason. attempts.ts tells when it tries.
 */
export async function waitForSsh(target: SshTarget, options: WaitOptions): Promise<SshSession> {
  options.signal?.throwIfAborted();
  // A key that cannot be read is no refusal that might pass.
  new Handshake(target);
  const wait = new Wait(target, options);
  const onAbort = (): void => wait.end(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const unsubscribe = options.nudge?.(() => wait.nudge());
  try {
    wait.step();
    return await wait.result;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    unsubscribe?.();
  }
}

interface OpenAttempt extends Attempt {
  greetedAt?: number | undefined;
  cancel(error: SshError): void;
}

class Wait {
  readonly result: Promise<SshSession>;
  readonly #target: SshTarget;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #resolve: (session: SshSession) => void;
  readonly #reject: (error: unknown) => void;
  readonly #open = new Map<number, OpenAttempt>();
  readonly #deadline: Timer;
  #timer: Timer | undefined;
  #settled = false;
  #count = 0;
  #firstStart: number | undefined;
  #lastStart: number | undefined;
  #answeredAt: number | undefined;
  #lastFailure: AttemptsState['lastFailure'];
  #lastError: SshError | undefined;
  #refusedSince: number | undefined;
  #nudged = false;

  constructor(target: SshTarget, options: WaitOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<SshSession>();
    this.result = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#target = target;
    this.#clock = options.clock ?? systemClock;
    this.#intervalMs = options.intervalMs ?? INTERVAL_MS;
    this.#timeoutMs = options.timeoutMs;
    this.#deadline = this.#clock.setTimeout(() => this.end(this.#timeoutError()), options.timeoutMs);
  }

  /** The guest says that it is up. */
  nudge(): void {
    this.#answeredAt = this.#clock.monotonic();
    this.#nudged = true;
    this.step();
  }

  /** Does what is due now, and sees to it that this is asked again in time. */
  step(): void {
    if (this.#settled) return;
    const { start, close, wakeInMs } = nextStep(this.#state(), this.#intervalMs, this.#clock.monotonic());
    for (const id of close) this.#giveUp(id, new SshError('timeout', `${this.#address} takes too long`));
    if (start) void this.#attempt();
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimeout(() => this.step(), wakeInMs);
  }

  /** Settles the wait without a session. */
  end(error: unknown): void {
    if (this.#settle()) this.#reject(error);
  }

  async #attempt(): Promise<void> {
    const id = this.#count;
    const startedAt = this.#clock.monotonic();
    this.#count += 1;
    this.#firstStart ??= startedAt;
    this.#lastStart = startedAt;
    this.#nudged = false;
    const dialled = dial(this.#target, () => this.#greeted(id));
    const attempt: OpenAttempt = { id, startedAt, cancel: dialled.cancel };
    this.#open.set(id, attempt);
    try {
      const session = await dialled.session;
      attempt.cancel = () => session.close();
      await this.#runTrue(session);
      if (this.#open.delete(id) && this.#settle()) this.#resolve(session);
      else session.close();
    } catch (error) {
      attempt.cancel(new SshError('closed', 'the login was given up'));
      if (this.#open.delete(id)) this.#failed(error);
    }
  }

  async #runTrue(session: SshSession): Promise<void> {
    const { exitCode } = await session.exec('true', { timeoutMs: LOGIN_LIMIT_MS, maxOutputBytes: 0 });
    if (exitCode === 0) return;
    const { user } = this.#target;
    throw new SshError('auth', `${this.#address} lets ${user} in, but \`true\` exited with ${exitCode}`);
  }

  #greeted(id: number): void {
    const now = this.#clock.monotonic();
    this.#answeredAt = now;
    const attempt = this.#open.get(id);
    if (attempt !== undefined) attempt.greetedAt = now;
    this.step();
  }

  #failed(error: unknown): void {
    const now = this.#clock.monotonic();
    if (!(error instanceof SshError) || error.kind === 'hostKey') {
      this.end(error);
      return;
    }
    const refusal = error.kind === 'auth' || error.kind === 'protocol';
    this.#lastFailure = { at: now, refusal };
    this.#lastError = error;
    if (!NO_SIGN_OF_LIFE.has(causeCode(error))) this.#answeredAt = now;
    if (error.kind === 'unreachable') this.#refusedSince = undefined;
    if (refusal) this.#refusedSince ??= now;
    if (refusal && now - (this.#refusedSince ?? now) >= REFUSAL_LIMIT_MS) this.end(error);
    this.step();
  }

  #giveUp(id: number, error: SshError): void {
    const attempt = this.#open.get(id);
    this.#open.delete(id);
    if (attempt?.greetedAt !== undefined) this.#lastError = error;
    attempt?.cancel(error);
  }

  /** Whether this call was the one that settled it. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#deadline.cancel();
    this.#timer?.cancel();
    for (const id of [...this.#open.keys()]) this.#giveUp(id, new SshError('closed', 'the wait is over'));
    return true;
  }

  #state(): AttemptsState {
    return {
      open: [...this.#open.values()],
      firstStart: this.#firstStart,
      lastStart: this.#lastStart,
      answeredAt: this.#answeredAt,
      lastFailure: this.#lastFailure,
      nudged: this.#nudged,
    };
  }

  #timeoutError(): SshError {
    const last = this.#lastError;
    const kind = last !== undefined && this.#refusedSince !== undefined ? last.kind : 'timeout';
    const why = last === undefined ? 'nothing answered' : last.message;
    return new SshError(kind, `no SSH login within ${this.#timeoutMs / 1000} s: ${why}`, { cause: last });
  }

  get #address(): string {
    return `${this.#target.host}:${this.#target.port}`;
  }
}

function causeCode(error: SshError): unknown {
  return error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined;
}
