import { constants } from 'node:os';
import { ExplainedError } from '../kube/explained-error.ts';

/** A user's mistake or a machine's lack, in one line that says what would be right. */
export class CliError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
  }
}

/** A signal ended what had not come to its end. */
export class StoppedError extends ExplainedError {
  readonly signal: NodeJS.Signals;
  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.name = 'StoppedError';
    this.signal = signal;
  }
}

/** What a process ends with. */
export interface Ending {
  /** One line, or, for a bug, its stack. */
  readonly text: string;
  readonly exitCode: number;
}

/** sysexits.h: an internal software error. */
const EX_SOFTWARE = 70;

/** As shells have it: 128 + n for what signal n ended. */
export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

/** How the process ends that a failure has ended. */
export function explainFailure(error: unknown): Ending {
  if (error instanceof ExplainedError || isSystemError(error)) {
    const exitCode = error instanceof StoppedError ? exitCodeOf(error.signal) : 1;
    return { text: `shoes-vz: ${oneLine(error.message)}`, exitCode };
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `shoes-vz: this is a bug: ${what}`, exitCode: EX_SOFTWARE };
}

export const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, ' ');

/** What the operating system refused, a full disk say, is no bug; its message names the path. */
const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'code' in error && 'syscall' in error;
