import pino, { type Logger } from 'pino';

/** JSON lines on stderr, one per event: stdout belongs to what a command prints. */
export function stderrLogger(level: string): Logger {
  return pino({ level, base: undefined }, pino.destination({ dest: 2, sync: true }));
}

/** The same into a file, for commands whose terminal is for people. Appended; the file is made 0600. */
export function fileLogger(level: string, path: string): Logger {
  return pino(
    { level, base: undefined },
    pino.destination({ dest: path, mkdir: true, sync: false, mode: 0o600 }),
  );
}
