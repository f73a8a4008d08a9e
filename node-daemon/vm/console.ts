import { type FSWatcher, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

const CHUNK_BYTES = 65_536;
/** Of a line that does not end, the end is kept. */
const MAX_LINE_CHARACTERS = 4096;
const POLL_MS = 1_000;

/**
 * Calls back with each line that a guest writes to its console, from the first one on: at once, by file events,
 * and looks every second besides, for an event that was lost. The directory must be there; the log need not, and
 * it may be emptied meanwhile. Returns the way out.
 */
export function followConsole(serialLog: string, onLine: (line: string) => void): () => void {
  const lines = new Lines(onLine);
  let position = 0;
  let isReading = false;
  let again = false;
  let ended = false;
  const read = async (): Promise<void> => {
    const file = await open(serialLog, 'r');
    try {
      if ((await file.stat()).size < position) position = 0;
      const { buffer, bytesRead } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, position);
      if (bytesRead === 0 || ended) return;
      position += bytesRead;
      again = true;
      lines.add(buffer.toString('latin1', 0, bytesRead));
    } finally {
      await file.close();
    }
  };
  const look = async (): Promise<void> => {
    again = true;
    if (isReading) return;
    isReading = true;
    while (again && !ended) {
      again = false;
      await read().catch(() => undefined);
    }
    isReading = false;
  };
  const watcher = watchDirectory(dirname(serialLog), () => void look());
  const timer = setInterval(() => void look(), POLL_MS);
  timer.unref();
  void look();
  return () => {
    ended = true;
    watcher?.close();
    clearInterval(timer);
  };
}

/** undefined where the system gives no file events, as where all of its watches are taken. */
function watchDirectory(path: string, onChange: () => void): FSWatcher | undefined {
  try {
    return watch(path, { persistent: false }, onChange).on('error', () => undefined);
  } catch {
    return undefined;
  }
}

class Lines {
  readonly #onLine: (line: string) => void;
  #partial = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(text: string): void {
    const lines = (this.#partial + text).split(/[\r\n]+/);
    this.#partial = (lines.pop() ?? '').slice(-MAX_LINE_CHARACTERS);
    for (const line of lines) if (line !== '') this.#onLine(line);
  }
}

/** dropbear's line right after listen(2), systemd's of OpenSSH's unit, the guest agent's. */
const SSHD_LISTENING = /Not backgrounding|Started (?:ssh|sshd)\.service|shoesvz: sshd listening/;

/** Whether a line of a guest's console says that its SSH server listens. A hint: anybody in the guest may write it. */
export const saysSshdListens = (line: string): boolean => SSHD_LISTENING.test(line);
