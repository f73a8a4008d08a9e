import { createConnection, type Socket } from 'node:net';

/** One JSON line of QEMU's: a greeting, an answer or an event. */
interface QmpMessage {
  readonly QMP?: unknown;
  readonly id?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class?: unknown; readonly desc?: unknown };
  readonly event?: unknown;
  readonly data?: unknown;
}

export interface QmpEvent {
  readonly name: string;
  readonly data: unknown;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** QEMU is not trusted with our memory: its guest may have taken it over. */
const MAX_LINE_BYTES = 256 * 1024;
const MAX_PENDING = 16;
const COMMAND_TIMEOUT_MS = 2_000;

/**
 * A QMP connection that has left negotiation. QEMU serves one at a time: a second one is accepted by the
 * kernel and waits for its greeting until the first has closed. Any line that is too long or no JSON ends
 * the connection.
 */
export class QmpClient {
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #pending = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeting = Promise.withResolvers<void>();
  #lastId = 0;
  #chunks: Buffer[] = [];
  #buffered = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#greeting.promise.catch(() => {});
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    let cause = new Error('the control socket was closed');
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => this.#fail(cause));
    socket.on('data', (chunk) => this.#receive(chunk));
  }

  /** Connects and negotiates. Rejects where that takes longer than the limit. */
  static async connect(path: string, timeoutMs: number): Promise<QmpClient> {
    const client = new QmpClient(createConnection(path));
    const limit = setTimeout(() => {
      client.#socket.destroy(new Error(`no QMP greeting within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      await client.#greeting.promise;
      await client.execute('qmp_capabilities', {}, timeoutMs);
      return client;
    } catch (error) {
      client.close();
      throw error;
    } finally {
      clearTimeout(limit);
    }
  }

  /** Rejects on QEMU's error, after the time limit, and when the connection ends first. */
  async execute(
    command: string,
    args: object = {},
    timeoutMs: number = COMMAND_TIMEOUT_MS,
  ): Promise<unknown> {
    if (this.#socket.destroyed) throw new Error('the control socket is closed');
    if (this.#pending.size >= MAX_PENDING) throw new Error('too many QMP commands at once');
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const limit = setTimeout(
      () => reject(new Error(`QMP ${command} was not answered within ${timeoutMs} ms`)),
      timeoutMs,
    );
    this.#pending.set(id, { resolve, reject });
    try {
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      return await promise;
    } finally {
      clearTimeout(limit);
      this.#pending.delete(id);
    }
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...this.#chunks, rest.subarray(0, end)]);
      this.#chunks = [];
      this.#buffered = 0;
      rest = rest.subarray(end + 1);
      if (!this.#handleLine(line.toString('utf8'))) return;
    }
    this.#buffered += rest.length;
    if (rest.length > 0) this.#chunks.push(rest);
    if (this.#buffered > MAX_LINE_BYTES) this.#socket.destroy(new Error('QMP sent a line that is too long'));
  }

  /** False where the connection was given up. */
  #handleLine(line: string): boolean {
    if (line.trim() === '') return true;
    let message: QmpMessage;
    try {
      message = JSON.parse(line);
    } catch {
      this.#socket.destroy(new Error('QMP sent something that is not JSON'));
      return false;
    }
    if (typeof message !== 'object' || message === null) return true;
    if (message.QMP !== undefined) this.#greeting.resolve();
    else if (typeof message.event === 'string') {
      const event = { name: message.event, data: message.data };
      for (const listener of [...this.#listeners]) listener(event);
    } else if (typeof message.id === 'number') this.#answer(message.id, message);
    return true;
  }

  #answer(id: number, message: QmpMessage): void {
    const waiting = this.#pending.get(id);
    if (message.error === undefined) waiting?.resolve(message.return);
    else waiting?.reject(new Error(`QMP: ${String(message.error.desc ?? message.error.class)}`));
  }

  #fail(cause: Error): void {
    this.#greeting.reject(cause);
    for (const { reject } of this.#pending.values()) reject(cause);
    this.#listeners.clear();
  }
}
