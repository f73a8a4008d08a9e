import { createWriteStream, renameSync, statSync, type WriteStream } from 'node:fs';
import type { Readable } from 'node:stream';

const MAX_BYTES = 8 << 20;
const TAIL_CHARACTERS = 8_192;

/**
 * A child's output in a file of at most 8 MiB and one predecessor (`.1`), with the end of it in memory for error
 * messages. What cannot be written is dropped: a full disk must not stop the child.
 */
export class RotatingLog {
  readonly #path: string;
  #stream: WriteStream;
  #bytes: number;
  #tail = '';

  constructor(path: string) {
    this.#path = path;
    this.#bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    this.#stream = this.#open();
  }

  /** Takes everything that the source emits until it ends. */
  follow(source: Readable): void {
    source.on('data', (chunk: Buffer) => this.#write(chunk));
    source.on('error', () => undefined);
  }

  /** The end of what was written since this object was made. */
  get tail(): string {
    return this.#tail;
  }

  close(): void {
    this.#stream.end();
  }

  #open(): WriteStream {
    return createWriteStream(this.#path, { flags: 'a', mode: 0o600 }).on('error', () => undefined);
  }

  #write(chunk: Buffer): void {
    this.#tail = (this.#tail + chunk.toString('utf8')).slice(-TAIL_CHARACTERS);
    if (this.#bytes + chunk.byteLength > MAX_BYTES) this.#rotate();
    this.#bytes += chunk.byteLength;
    if (this.#stream.writable && this.#stream.writableLength < MAX_BYTES) this.#stream.write(chunk);
  }

  #rotate(): void {
    try {
      renameSync(this.#path, `${this.#path}.1`);
    } catch {
      return;
    }
    this.#stream.end();
    this.#stream = this.#open();
    this.#bytes = 0;
  }
}
