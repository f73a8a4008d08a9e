import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { sameIdentity } from '../bundle.ts';
import type { VmControl, VmIdentity, VmRunState } from '../driver.ts';
import type { ProcessVmMessage, ProcessVmRequest } from './process-vm.ts';

const CONNECT_LIMIT_MS = 5_000;

/** A request as its caller knows it. */
type Request = ProcessVmRequest extends infer R
  ? R extends { verb: unknown }
    ? Omit<R, 'id'>
    : never
  : never;

/** One connection with the control socket of a process-vm.ts. */
export class ProcessVmConnection {
  /** Settles when the connection ended, for any reason. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #identity = Promise.withResolvers<VmIdentity>();
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #listeners = new Set<(state: VmRunState) => void>();
  #lastId = 0;
  #isOpen = true;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#identity.promise.catch(() => undefined);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#end();
        resolve();
      });
    });
    socket.on('error', () => socket.destroy());
    createInterface({ input: socket })
      .on('line', (line) => this.#receive(JSON.parse(line)))
      .on('error', () => socket.destroy());
  }

  /** Rejects where nobody answers, or another VM does. */
  static async open(path: string, identity: VmIdentity): Promise<ProcessVmConnection> {
    const socket = connect({ path });
    const signal = AbortSignal.timeout(CONNECT_LIMIT_MS);
    const connection = new ProcessVmConnection(socket);
    try {
      await once(socket, 'connect', { signal });
      signal.addEventListener('abort', () => connection.#identity.reject(signal.reason), { once: true });
      const named = await connection.#identity.promise;
      if (sameIdentity(named, identity)) return connection;
      throw new Error(`the control socket belongs to ${named.uid}.${named.attempt} of ${named.hostUid}`);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  async ask(request: Request): Promise<unknown> {
    if (!this.#isOpen) throw new Error('the connection has ended');
    const id = ++this.#lastId;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(id, pending);
    this.#socket.write(`${JSON.stringify({ id, ...request })}\n`);
    return await pending.promise;
  }

  close(): void {
    this.#socket.destroy();
    this.#end();
  }

  onStateChange(listener: (state: VmRunState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #receive(message: ProcessVmMessage): void {
    if ('identity' in message) {
      this.#identity.resolve(message.identity);
    } else if ('state' in message) {
      for (const listener of [...this.#listeners]) listener(message.state);
    } else {
      this.#pending.get(message.id)?.resolve(message.result);
      this.#pending.delete(message.id);
    }
  }

  #end(): void {
    this.#isOpen = false;
    const ended = new Error('the connection has ended');
    this.#identity.reject(ended);
    for (const pending of this.#pending.values()) pending.reject(ended);
    this.#pending.clear();
    this.#listeners.clear();
  }
}

export async function connectProcessVm(path: string, identity: VmIdentity): Promise<VmControl> {
  const connection = await ProcessVmConnection.open(path, identity);
  return {
    state: async () => (await connection.ask({ verb: 'state' })) as VmRunState,
    stop: async () => void (await connection.ask({ verb: 'stop' })),
    kill: async () => void (await connection.ask({ verb: 'kill' })),
    close: () => connection.close(),
    onStateChange: (listener) => connection.onStateChange(listener),
    closed: connection.closed,
  };
}
