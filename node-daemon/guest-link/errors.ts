import { ExplainedError } from '../../kube/explained-error.ts';

/**
 * - `listen`: the daemon cannot listen where it should.
 * - `unreachable`, `timeout`: the guest's agent did not answer (in time).
 * - `unauthorized`: the agent does not know the token: it belongs to another VM.
 * - `invalid`: what answered does not speak the agent's protocol.
 */
export type GuestLinkErrorKind = 'listen' | 'unreachable' | 'timeout' | 'unauthorized' | 'invalid';

/** An expected failure between host and guest. The message is one line for people and carries no token. */
export class GuestLinkError extends ExplainedError {
  readonly kind: GuestLinkErrorKind;
  constructor(kind: GuestLinkErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'GuestLinkError';
    this.kind = kind;
  }
}
