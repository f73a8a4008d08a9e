import { ExplainedError } from '../../kube/explained-error.ts';

/**
 * What went wrong with an SSH connection.
 *
 * - `unreachable`: no SSH server answered (refused, reset, or closed before it named itself).
 * - `auth`: the server refused every key, or a key cannot be read.
 * - `hostKey`: the server is not the one that was expected. Never tried again by itself.
 * - `timeout`: the time given ran out.
 * - `closed`: the connection ended after it had been established.
 * - `protocol`: the peer does not speak SSH as it should, or refused a channel.
 */
export type SshErrorKind = 'unreachable' | 'auth' | 'hostKey' | 'timeout' | 'closed' | 'protocol';

/** An expected failure of SSH. The message is one line for people and carries no secret. */
export class SshError extends ExplainedError {
  readonly kind: SshErrorKind;
  constructor(kind: SshErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SshError';
    this.kind = kind;
  }
}
