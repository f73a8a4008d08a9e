import { Socket } from 'node:net';
import ssh2, { type Client, type ConnectConfig } from 'ssh2';
import { SshError } from './errors.ts';
import { type ExecOptions, type ExecResult, execCommand } from './exec.ts';
import { Handshake } from './handshake.ts';
import { formatPublicKey, hostKeyAlgorithms } from './host-key.ts';

/** Whom to log in to, and as whom. */
export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** In OpenSSH's PEM form, without a passphrase. */
  readonly privateKey: string;
  /**
   * Tried in the same connection where `privateKey` is refused: the template's key of a guest whose login may
   * or may not have been rotated yet.
   */
  readonly fallbackKey?: string | undefined;
  /**
   * `ssh-ed25519 AAAA…`: the only key that the server may have. undefined trusts whatever it has, which is
   * right only for a first contact with a template that records no key; pin {@link SshSession.hostKey} after it.
   */
  readonly hostKey: string | undefined;
}

/** An authenticated connection. Several commands may run over it at once; OpenSSH allows 10. */
export interface SshSession {
  /** The key that the server proved to have: `ssh-ed25519 AAAA…`. */
  readonly hostKey: string;
  /** The public half of the key that was let in, likewise. */
  readonly publicKey: string;
  /** See {@link execCommand}. */
  exec(command: string, options: ExecOptions): Promise<ExecResult>;
  /** Settles when the connection ended, for any reason. Never rejects. */
  readonly closed: Promise<void>;
  /** Ends the connection; commands under way reject with `closed`. Idempotent. */
  close(): void;
}

export interface OpenOptions {
  /** From now to the end of authentication. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A connection being made. */
export interface Dial {
  /** Rejects with an {@link SshError}. */
  readonly session: Promise<SshSession>;
  /** Gives up: `session` rejects with `error`. Does nothing once `session` is settled. */
  cancel(error: SshError): void;
}

/**
 * A connection is taken for dead when the peer answers none of this many keepalives in a row: 40 s, within
 * which a guest may be paused or starved without losing it.
 */
const KEEPALIVE_INTERVAL_MS = 10_000;
const KEEPALIVE_COUNT = 3;

/**
 * Cheapest first for a guest whose instructions are emulated; all are in every OpenSSH since 6.5 and dropbear
 * since 2013. The client's order decides. Nothing is compressed.
 */
const ALGORITHMS = {
  kex: [
    'curve25519-sha256',
    'curve25519-sha256@libssh.org',
    'ecdh-sha2-nistp256',
    'diffie-hellman-group14-sha256',
  ],
  cipher: ['chacha20-poly1305@openssh.com', 'aes128-gcm@openssh.com', 'aes128-ctr', 'aes256-ctr'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-256'],
  compress: ['none'],
} satisfies ConnectConfig['algorithms'];

/** Logs in, or rejects with an {@link SshError} or the signal's reason. Tries once. */
export async function openSession(target: SshTarget, options: OpenOptions): Promise<SshSession> {
  const { signal, timeoutMs } = options;
  signal?.throwIfAborted();
  const dialled = dial(target);
  const timer = setTimeout(() => {
    const seconds = timeoutMs / 1000;
    dialled.cancel(
      new SshError('timeout', `no SSH login at ${target.host}:${target.port} within ${seconds} s`),
    );
  }, timeoutMs);
  const onAbort = (): void => dialled.cancel(new SshError('closed', 'the login was given up'));
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await dialled.session;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * Begins to log in, without a limit in time: that is the caller's. `onGreeted` is called when the server begins
 * to speak: it is there and alive.
 */
export function dial(target: SshTarget, onGreeted?: () => void): Dial {
  const { promise, resolve, reject } = Promise.withResolvers<SshSession>();
  const socket = new Socket();
  let settled = false;
  const cancel = (error: unknown): void => {
    if (settled) return;
    settled = true;
    reject(error);
    socket.destroy();
  };
  try {
    const handshake = new Handshake(target);
    const client = connect(target, socket, handshake);
    client.once('close', () => cancel(handshake.error()));
    client.once('ready', () => {
      settled = true;
      resolve(asSession(client, socket, handshake));
    });
    socket.once('data', () => {
      handshake.greeted = true;
      onGreeted?.();
    });
  } catch (error) {
    cancel(error);
  }
  return { session: promise, cancel };
}

function connect(target: SshTarget, socket: Socket, handshake: Handshake): Client {
  const client = new ssh2.Client();
  // Stays for the client's life: an error that nobody listens to would end the process.
  client.on('error', (error) => {
    handshake.fail(error);
    socket.destroy();
  });
  socket.setNoDelay(true);
  // Before the client gets it: it takes a socket that is not connecting for a connected one.
  socket.connect({ host: target.host, port: target.port });
  client.connect({
    sock: socket,
    username: target.user,
    algorithms: { ...ALGORITHMS, serverHostKey: hostKeyAlgorithms(target.hostKey) },
    hostVerifier: (key: Buffer) => handshake.verifyHostKey(formatPublicKey(key)),
    authHandler: () => handshake.nextKey(),
    readyTimeout: 0,
    keepaliveInterval: KEEPALIVE_INTERVAL_MS,
    keepaliveCountMax: KEEPALIVE_COUNT,
  });
  return client;
}

function asSession(client: Client, socket: Socket, handshake: Handshake): SshSession {
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
  return {
    hostKey: handshake.hostKey,
    publicKey: handshake.publicKey,
    exec: (command, options) => execCommand(client, command, options),
    closed,
    close: () => {
      client.end();
      // Not left to the peer's good will: a paused guest would hold the socket open.
      setImmediate(() => socket.destroy());
    },
  };
}
