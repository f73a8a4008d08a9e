import { ExplainedError } from './explained-error.ts';

/** One cause in a Kubernetes Status, e.g. a field that failed validation. */
export interface StatusCause {
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly field?: string | undefined;
}

/** `details` of a Kubernetes Status. */
export interface StatusDetails {
  readonly name?: string | undefined;
  readonly group?: string | undefined;
  readonly kind?: string | undefined;
  readonly uid?: string | undefined;
  readonly causes?: readonly StatusCause[] | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

/** The API server answered, and the answer is not a success. The message is the server's own. */
export class ApiError extends ExplainedError {
  /** HTTP status. */
  readonly code: number;
  /** Kubernetes' StatusReason in CamelCase; empty where the answer was no Status. */
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.reason = reason;
    this.details = details;
  }
}

/** Why no usable answer came. `Stopped`: the client's stop signal, not the network. */
export type UnreachableReason =
  | 'Refused'
  | 'UnknownHost'
  | 'NoRoute'
  | 'Timeout'
  | 'Tls'
  | 'Reset'
  | 'Garbled'
  | 'Stopped'
  | 'Other';

/**
 * No usable answer came. Whether a write took effect is unknown, unless `reason` is `Refused`, `UnknownHost`
 * or `Tls`. The message is one line that names server and cause and never holds credentials.
 */
export class ApiUnreachable extends ExplainedError {
  readonly reason: UnreachableReason;
  /** Origin of the server, without credentials. */
  readonly server: string;

  constructor(server: string, reason: UnreachableReason, explanation: string, options?: ErrorOptions) {
    super(`cannot reach the API server at ${server}: ${explanation}`, options);
    this.name = 'ApiUnreachable';
    this.reason = reason;
    this.server = server;
  }
}

/** A kubeconfig, or the credentials it names, cannot be used. The message is one line for a person. */
export class KubeconfigError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KubeconfigError';
  }
}

/** 409 because the object changed since it was read. Not a name that is taken: see {@link isAlreadyExists}. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 409 && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 409 && error.reason === 'AlreadyExists';
}

export function isNotFound(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 404;
}

/** The resourceVersion or continue token is older than what the server still holds (410, Gone or Expired). */
export function isGone(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.code === 410 || error.reason === 'Expired');
}

/** Refused by validation: schema, CEL or admission said which field (422). */
export function isInvalid(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 422;
}

export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 403;
}

export function isUnauthorized(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 401;
}

/** The server asks for less (429). */
export function isTooManyRequests(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 429;
}

/** The server has not reached the resourceVersion asked for, as after etcd was restored from a backup. */
export function isResourceVersionTooLarge(error: unknown): error is ApiError {
  return (
    error instanceof ApiError &&
    (error.details?.causes?.some((cause) => cause.reason === 'ResourceVersionTooLarge') ?? false)
  );
}

/** ApiError of a Kubernetes Status object, as bodies of failed requests and ERROR events of watches carry it. */
export function apiErrorFromStatus(status: unknown, fallbackCode: number): ApiError {
  if (typeof status !== 'object' || status === null)
    return new ApiError(fallbackCode, '', 'no Status in the answer');
  const fields = status as Record<string, unknown>;
  return new ApiError(
    typeof fields.code === 'number' ? fields.code : fallbackCode,
    typeof fields.reason === 'string' ? fields.reason : '',
    typeof fields.message === 'string' ? fields.message : `HTTP ${fallbackCode}`,
    typeof fields.details === 'object' && fields.details !== null
      ? (fields.details as StatusDetails)
      : undefined,
  );
}

const OTHER_AUTHORITY = "the server's certificate is not signed by the kubeconfig's certificate authority";

const EXPLANATIONS: Record<string, readonly [UnreachableReason, string]> = {
  ECONNREFUSED: ['Refused', 'connection refused'],
  ENOTFOUND: ['UnknownHost', 'unknown host name'],
  EAI_AGAIN: ['UnknownHost', 'host name cannot be resolved now'],
  EHOSTUNREACH: ['NoRoute', 'no route to the host'],
  ENETUNREACH: ['NoRoute', 'no route to the network'],
  ETIMEDOUT: ['Timeout', 'connection timed out'],
  UND_ERR_CONNECT_TIMEOUT: ['Timeout', 'connection timed out'],
  UND_ERR_HEADERS_TIMEOUT: ['Timeout', 'no answer in time'],
  UND_ERR_BODY_TIMEOUT: ['Timeout', 'the answer stopped halfway'],
  ECONNRESET: ['Reset', 'connection reset'],
  EPIPE: ['Reset', 'connection closed'],
  UND_ERR_SOCKET: ['Reset', 'connection closed'],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: ['Reset', 'the answer was cut off'],
  CERT_SIGNATURE_FAILURE: ['Tls', OTHER_AUTHORITY],
  CERT_HAS_EXPIRED: ['Tls', "the server's certificate has expired"],
  CERT_NOT_YET_VALID: ['Tls', "the server's certificate is not valid yet: check this machine's clock"],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['Tls', OTHER_AUTHORITY],
  SELF_SIGNED_CERT_IN_CHAIN: ['Tls', OTHER_AUTHORITY],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ['Tls', OTHER_AUTHORITY],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['Tls', OTHER_AUTHORITY],
  ERR_TLS_CERT_ALTNAME_INVALID: ['Tls', "the server's certificate is for another host name"],
};

/** ApiUnreachable of whatever a request threw. `server` must be free of credentials. */
export function unreachable(server: string, error: unknown): ApiUnreachable {
  if (error instanceof ApiUnreachable) return error;
  const root = rootCause(error);
  const code = errorCode(root);
  const known = EXPLANATIONS[code];
  if (known !== undefined) return new ApiUnreachable(server, known[0], known[1], { cause: error });
  if (/^(ERR_SSL_|ERR_TLS_|CERT_|INVALID_|UNABLE_TO_|EPROTO$)/.test(code)) {
    return new ApiUnreachable(server, 'Tls', `TLS failed (${tlsAlert(root)})`, { cause: error });
  }
  return new ApiUnreachable(server, 'Other', code === '' ? 'the request failed' : code, { cause: error });
}

/** The innermost error; of the several that a dual-stack connect collects, the first. */
function rootCause(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 8; depth += 1) {
    if (current instanceof AggregateError && current.errors.length > 0) current = current.errors[0];
    else if (current instanceof Error && current.cause !== undefined) current = current.cause;
    else return current;
  }
  return current;
}

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

function tlsAlert(error: unknown): string {
  const reason = typeof error === 'object' && error !== null && 'reason' in error ? error.reason : undefined;
  return typeof reason === 'string' ? reason : errorCode(error);
}
