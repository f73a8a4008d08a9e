import ssh2, { type ParsedKey, type PublicKeyAuthMethod } from 'ssh2';
import { SshError } from './errors.ts';
import { formatPublicKey, normalizePublicKey } from './host-key.ts';

export interface Expected {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly privateKey: string;
  readonly fallbackKey?: string | undefined;
  readonly hostKey: string | undefined;
}

/** SSH_DISCONNECT_* of RFC 4253 that mean a refused login. */
const DISCONNECT_REFUSALS: ReadonlySet<unknown> = new Set([2, 14]);

/** What is known of one login under way: whom it expects, how far it came, why it failed. */
export class Handshake {
  /** Whether the peer has sent anything. */
  greeted = false;
  readonly #expected: Expected;
  readonly #keys: readonly ParsedKey[];
  #keysTried = 0;
  #hostKey: string | undefined;
  #error: SshError | undefined;

  /** Throws an {@link SshError} for a key that cannot be read. */
  constructor(expected: Expected) {
    this.#expected = expected;
    const { privateKey, fallbackKey } = expected;
    this.#keys = [privateKey, ...(fallbackKey === undefined ? [] : [fallbackKey])].map(parsePrivateKey);
  }

  /** The key that the server showed; empty before it did. */
  get hostKey(): string {
    return this.#hostKey ?? '';
  }

  /** The public half of the key that was offered last; empty before. */
  get publicKey(): string {
    const key = this.#keys[this.#keysTried - 1];
    return key === undefined ? '' : formatPublicKey(key.getPublicSSH());
  }

  /** Whether the server's key is the pinned one, if one is pinned. */
  verifyHostKey(key: string): boolean {
    this.#hostKey = key;
    const pinned = this.#expected.hostKey;
    if (pinned === undefined || normalizePublicKey(pinned) === key) return true;
    this.#error = new SshError('hostKey', `${this.#address} has another host key than was pinned for it`);
    return false;
  }

  /** The next way to log in; false where all were tried. */
  nextKey(): PublicKeyAuthMethod | false {
    const key = this.#keys[this.#keysTried];
    if (key === undefined) return false;
    this.#keysTried += 1;
    return { type: 'publickey', username: this.#expected.user, key };
  }

  /** Takes note of a failure; the first one counts. */
  fail(error: Error): void {
    this.#error ??= this.#classify(error);
  }

  /** Why the connection ended. */
  error(): SshError {
    return this.#error ?? this.#lost(undefined);
  }

  get #address(): string {
    return `${this.#expected.host}:${this.#expected.port}`;
  }

  #classify(error: Error): SshError {
    const level = 'level' in error ? error.level : undefined;
    const code = 'code' in error ? error.code : undefined;
    if (level === 'client-authentication' || DISCONNECT_REFUSALS.has(code)) {
      const { user } = this.#expected;
      return new SshError('auth', `${this.#address} refuses the key of ${user}`, { cause: error });
    }
    if (level === 'client-timeout') {
      return new SshError('closed', `${this.#address} no longer answers`, { cause: error });
    }
    if (level === 'client-socket' || typeof code === 'number' || !this.greeted) return this.#lost(error);
    if (this.#expected.hostKey !== undefined && /no matching host key format/.test(error.message)) {
      return new SshError('hostKey', `${this.#address} has no host key of the pinned kind`, { cause: error });
    }
    return new SshError('protocol', `${this.#address}: ${error.message}`, { cause: error });
  }

  #lost(cause: Error | undefined): SshError {
    const code = cause !== undefined && 'code' in cause ? ` (${cause.code})` : '';
    return this.greeted
      ? new SshError('closed', `${this.#address} ended the connection${code}`, { cause })
      : new SshError('unreachable', `${this.#address} has no SSH server that answers${code}`, { cause });
  }
}

function parsePrivateKey(pem: string): ParsedKey {
  const parsed = ssh2.utils.parseKey(pem);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key instanceof Error || key === undefined || !key.isPrivateKey()) {
    // The parser's message is not repeated: it may quote the key.
    throw new SshError('auth', 'the private key is not an OpenSSH private key without a passphrase');
  }
  return key;
}
