import { ExplainedError } from '../../kube/explained-error.ts';

/** What went wrong with the embedded control plane, for programs; the message is one line for people. */
export type ControlPlaneErrorReason =
  | 'BinariesUnavailable'
  | 'BadAddress'
  | 'BadDataDir'
  | 'DataDirInUse'
  | 'PortTaken'
  | 'StartFailed'
  | 'CrdsMissing'
  | 'CrdConflict';

/**
 * An expected failure of the embedded control plane. Its message names what is wrong and what would be right.
 */
export class ControlPlaneError extends ExplainedError {
  readonly reason: ControlPlaneErrorReason;
  constructor(reason: ControlPlaneErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ControlPlaneError';
    this.reason = reason;
  }
}

/** The `code` of a Node.js system error (`ENOENT`, `EADDRINUSE`, …); undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error.cause === undefined ? undefined : systemErrorCode(error.cause);
}

/** The innermost message of an error, on one line: fetch and x509 hide the cause under a general one. */
export function oneLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return oneLine(error.cause);
  return error.message.split('\n', 1)[0] ?? error.message;
}
