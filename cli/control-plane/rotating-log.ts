import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';

const MAX_BYTES = 8 << 20;
const TAIL_CHARACTERS = 8_192;

/**
 * A program's output in a file of at most 8 MiB and one predecessor (`.1`), with the end of it in memory for
 * error messages. What cannot be written is dropped: a full disk must not stop the program. Writes
 * synchronously: these programs say little, and no queue has to be bounded.
 */
export class RotatingLog {
  readonly #path: string;
  #file: number | undefined;
  #bytes = 0;
  #tail = '';

  constructor(path: string) {
    this.#path = path;
    this.#open();
  }

  /** Takes everything that the source emits until it ends. */
  follow(source: Readable): void {
    source.on('data', (chunk: Buffer) => this.write(chunk));
    source.on('error', () => undefined);
  }

  /** The end of what was written since this object was made. */
  get tail(): string {
    return this.#tail;
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #open(): void {
    try {
      this.#file = openSync(this.#path, 'a', 0o600);
      this.#bytes = fstatSync(this.#file).size;
    } catch {
      this.#file = undefined;
    }
  }

  write(output: Buffer | string): void {
    const chunk = Buffer.from(output);
    this.#tail = (this.#tail + chunk.toString('utf8')).slice(-TAIL_CHARACTERS);
    try {
      if (this.#bytes + chunk.byteLength > MAX_BYTES) this.#rotate();
      if (this.#file !== undefined) this.#bytes += writeSync(this.#file, chunk);
    } catch {
      // Dropped.
    }
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    this.close();
    this.#open();
  }
}
