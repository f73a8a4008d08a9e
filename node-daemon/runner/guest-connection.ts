import type { Runner } from '../../crds/runner.ts';
import { sleep } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import { isScriptOver, type ScriptFacts, type SessionFacts } from './facts.ts';
import type { Guest, GuestSession, RunnerPorts } from './ports.ts';
import { look, readScript, startInGuest, watch } from './setup-script.ts';
import type { Works } from './works.ts';

/** Pause before a login after others came to nothing in a row: doubled each time, up to the second. */
const RETRY_MS = { first: 500, most: 15_000 };
/** A connection that stood so long was a good one: its end begins a new row. */
const GOOD_CONNECTION_MS = 60_000;

export type ConnectionFacts = Pick<SessionFacts, 'ssh' | 'sshLostForMs' | 'script' | 'scriptWatched'>;

export interface ConnectOptions {
  readonly timeoutMs: number;
  /** Whether the connection is wanted afterwards, for a script. */
  readonly keep: boolean;
  /** Makes the first login durable before it becomes a fact. */
  readonly onReady?: ((session: GuestSession) => Promise<void>) | undefined;
}

interface Connection {
  readonly session: GuestSession;
  readonly since: number;
  readonly ended: AbortController;
}

/**
 * The SSH connection with one guest, and what it told of the setup script. A connection that is lost is no news of
 * the script: that is looked at again over the next one. Methods return at once; `changed` is called when a
 * fact changed.
 */
export class GuestConnection {
  readonly #ports: RunnerPorts;
  readonly #works: Works;
  readonly #changed: () => void;
  readonly #nudges = new Set<() => void>();
  #facts: ConnectionFacts = {
    ssh: { state: 'idle' },
    script: { state: 'unobserved' },
    scriptWatched: false,
  };
  #connection: Connection | undefined;
  /** When the script was seen to have exited, on the monotonic clock. */
  #exitedAt = 0;
  /** When the last connection was lost, on the monotonic clock, while there is no other. */
  #lostAt: number | undefined;
  /** Logins in a row that came to nothing, and connections that did not last. */
  #failures = 0;

  constructor(ports: RunnerPorts, works: Works, changed: () => void) {
    this.#ports = ports;
    this.#works = works;
    this.#changed = changed;
  }

  get facts(): ConnectionFacts {
    const now = this.#ports.clock.monotonic();
    const sshLostForMs = this.#lostAt === undefined ? undefined : now - this.#lostAt;
    const { script } = this.#facts;
    const told = script.state === 'exited' ? { ...script, forMs: now - this.#exitedAt } : script;
    return { ...this.#facts, sshLostForMs, script: told };
  }

  /** The guest says that its SSH server serves. */
  nudge(): void {
    for (const nudge of [...this.#nudges]) nudge();
  }

  connect(guest: Guest, options: ConnectOptions): void {
    this.#set({ ssh: { ...this.#failure(), state: 'connecting' } });
    this.#works.run(async (signal) => {
      await sleep(this.#ports.clock, this.#pauseMs(), signal);
      if (signal.aborted) return;
      const nudge = (listener: () => void) => {
        this.#nudges.add(listener);
        return () => this.#nudges.delete(listener);
      };
      const { timeoutMs } = options;
      const result = await this.#ports.guests.login(guest, { timeoutMs, nudge, signal });
      if (result.state === 'connected') await this.#connected(result.session, options);
      else if (result.state === 'refused') this.#set({ ssh: result });
      else this.#failed(result.message);
    });
  }

  /** Called behind the gate only. */
  startScript(runner: Stored<Runner>): void {
    this.#overSsh({ script: { state: 'starting' } }, async (session, signal) => {
      const waiting = (waitingFor: string): void => this.#setScript({ state: 'starting', waitingFor });
      const text = await readScript(this.#ports, runner, waiting, signal);
      this.#setScript(await startInGuest(this.#ports, session, text, signal));
    });
  }

  observeScript(): void {
    this.#overSsh({ script: { state: 'starting' } }, async (session, signal) => {
      this.#setScript(await look(this.#ports, session, signal));
    });
  }

  watchScript(): void {
    this.#overSsh({ scriptWatched: true }, async (session, signal) => {
      this.#setScript(await watch(this.#ports, session, signal));
      this.close();
    });
  }

  /** Lets go of the guest. What is under way over the connection ends. */
  close(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    connection.ended.abort();
    connection.session.close();
    this.#set({ ssh: { state: 'idle' }, scriptWatched: false });
  }

  async #connected(session: GuestSession, { keep, onReady }: ConnectOptions): Promise<void> {
    try {
      await onReady?.(session);
    } catch (error) {
      session.close();
      this.#failed(`SSH answers, but that cannot be recorded: ${messageOf(error)}`);
      return;
    }
    if (!keep || this.#works.hasEnded) {
      session.close();
      this.#set({ ssh: { state: 'idle' } });
      return;
    }
    const since = this.#ports.clock.monotonic();
    const connection = { session, since, ended: new AbortController() };
    this.#connection = connection;
    this.#lostAt = undefined;
    this.#set({ ssh: { state: 'connected' } });
    void session.closed.then(() => this.#lost(connection, 'the SSH connection has ended'));
  }

  /** Work that ends with its connection. */
  #overSsh(
    begun: Partial<ConnectionFacts>,
    work: (session: GuestSession, signal: AbortSignal) => Promise<void>,
  ): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#set(begun);
    this.#works.run(async (ended) => {
      const signal = AbortSignal.any([ended, connection.ended.signal]);
      try {
        await work(connection.session, signal);
      } catch (error) {
        if (!signal.aborted) this.#lost(connection, messageOf(error));
      }
    });
  }

  #lost(connection: Connection, why: string): void {
    if (this.#connection !== connection) return;
    const stoodMs = this.#ports.clock.monotonic() - connection.since;
    if (stoodMs >= GOOD_CONNECTION_MS) this.#failures = 0;
    this.#connection = undefined;
    this.#lostAt = this.#ports.clock.monotonic();
    connection.ended.abort();
    connection.session.close();
    if (!isScriptOver(this.#facts.script)) this.#facts = { ...this.#facts, script: { state: 'unobserved' } };
    this.#facts = { ...this.#facts, scriptWatched: false };
    this.#failed(why);
  }

  #failed(failure: string): void {
    this.#failures += 1;
    this.#ports.log.info({ why: failure, failures: this.#failures }, 'no SSH with the guest');
    this.#set({ ssh: { state: 'idle', failure } });
  }

  #failure(): { readonly failure?: string | undefined } {
    const { ssh } = this.#facts;
    return ssh.state === 'idle' ? { failure: ssh.failure } : {};
  }

  #pauseMs(): number {
    return this.#failures === 0 ? 0 : Math.min(RETRY_MS.first * 2 ** (this.#failures - 1), RETRY_MS.most);
  }

  #setScript(script: ScriptFacts): void {
    if (script.state === 'exited') this.#exitedAt = this.#ports.clock.monotonic();
    this.#set({ script });
  }

  #set(facts: Partial<ConnectionFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
    this.#changed();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
