import pino, { type Logger } from 'pino';
import { RotatingLog } from './control-plane/rotating-log.ts';

/** JSON lines on stderr, one per event: stdout belongs to what a command prints. */
export function stderrLogger(level: string): Logger {
  return pino({ level, base: undefined }, pino.destination({ dest: 2, sync: true }));
}

/**
 * The same into a file, for commands whose terminal is for people. It is appended to, is for its owner only, and
 * has one predecessor (`.1`) when it has grown large. Its directory must be there.
 */
export function fileLogger(level: string, path: string): Logger {
  return pino({ level, base: undefined }, new RotatingLog(path));
}
