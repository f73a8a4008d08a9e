import type { Client, ClientChannel } from 'ssh2';
import { SshError } from './errors.ts';

export interface ExecOptions {
  /** Sent to the command, then its input is closed. Default: no input. */
  readonly stdin?: string | Buffer | undefined;
  /** For the whole of it: opening the channel, running, reading the answer. */
  readonly timeoutMs: number;
  /** Most bytes kept of each of stdout and stderr; what is more is read and thrown away. */
  readonly maxOutputBytes: number;
  /** How output becomes text. Default: utf8, with U+FFFD for what is not; latin1 keeps every byte. */
  readonly encoding?: 'utf8' | 'latin1' | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ExecResult {
  /** null where the command was ended by a signal, or the server did not say. */
  readonly exitCode: number | null;
  /** Name of the signal that ended the command: SIGKILL. */
  readonly signal?: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether stdout or stderr was longer than `maxOutputBytes`. */
  readonly truncated: boolean;
}

/**
 * Runs a command in a channel of its own. Rejects with an {@link SshError}: `timeout`, `closed` where the
 * connection ended first (the command may run on), `protocol` where the server refuses a channel; or with the
 * signal's reason. A command that is given up on loses its input and output; nothing else is done to it.
 */
export function execCommand(client: Client, command: string, options: ExecOptions): Promise<ExecResult> {
  const { signal, timeoutMs } = options;
  if (signal?.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<ExecResult>();
  const run = new Execution(options);

  const onAbort = (): void => reject(signal?.reason);
  const onClose = (): void => settle(new SshError('closed', 'the SSH connection ended during a command'));
  const timer = setTimeout(() => {
    reject(new SshError('timeout', `a command did not end within ${timeoutMs / 1000} s`));
  }, timeoutMs);
  const settle = (error: SshError): void => (run.exited ? resolve(run.result()) : reject(error));

  signal?.addEventListener('abort', onAbort, { once: true });
  client.once('close', onClose);
  try {
    client.exec(command, (error, channel) => {
      if (error !== undefined) {
        reject(new SshError('protocol', `the SSH server refused a command: ${error.message}`));
        return;
      }
      run.attach(channel, () => resolve(run.result()));
    });
  } catch (error) {
    reject(new SshError('closed', 'the SSH connection has ended', { cause: error }));
  }
  return promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    client.off('close', onClose);
    run.end();
  });
}

/** One command's channel and what came through it. */
class Execution {
  readonly #options: ExecOptions;
  readonly #stdout: Collector;
  readonly #stderr: Collector;
  #channel: ClientChannel | undefined;
  #ended = false;
  #exit: { code: number | null; signal: string | undefined } | undefined;

  constructor(options: ExecOptions) {
    this.#options = options;
    this.#stdout = new Collector(options.maxOutputBytes);
    this.#stderr = new Collector(options.maxOutputBytes);
  }

  get exited(): boolean {
    return this.#exit !== undefined;
  }

  /** A channel that opens after its command was given up is closed at once. */
  attach(channel: ClientChannel, onClose: () => void): void {
    this.#channel = channel;
    channel.on('error', () => {});
    channel.stderr.on('error', () => {});
    if (this.#ended) {
      channel.resume();
      channel.close();
      return;
    }
    channel.on('exit', (code: number | null, signal?: string) => {
      this.#exit = { code, signal };
    });
    channel.on('data', (chunk: Buffer) => this.#stdout.add(chunk));
    channel.stderr.on('data', (chunk: Buffer) => this.#stderr.add(chunk));
    channel.on('close', onClose);
    channel.end(this.#options.stdin);
  }

  end(): void {
    this.#ended = true;
    this.#channel?.close();
  }

  result(): ExecResult {
    const encoding = this.#options.encoding ?? 'utf8';
    return {
      exitCode: this.#exit?.code ?? null,
      signal: this.#exit?.signal,
      stdout: this.#stdout.bytes().toString(encoding),
      stderr: this.#stderr.bytes().toString(encoding),
      truncated: this.#stdout.truncated || this.#stderr.truncated,
    };
  }
}

/** The first `limit` bytes of a stream. */
class Collector {
  readonly #limit: number;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  truncated = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(chunk: Buffer): void {
    const kept = chunk.subarray(0, this.#limit - this.#size);
    if (kept.length < chunk.length) this.truncated = true;
    if (kept.length === 0) return;
    // A copy: the chunk is a view of the connection's receive buffer.
    this.#chunks.push(Buffer.from(kept));
    this.#size += kept.length;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
