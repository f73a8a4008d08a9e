import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection, type ServerChannel } from 'ssh2';
import { formatPublicKey } from '../host-key.ts';
import { generateSshKeyPair, type SshKeyPair } from '../key-pair.ts';

/** What becomes of a new TCP connection. */
export type Reception = 'serve' | 'silent' | 'reset' | 'garbage';

export interface FakeCommand {
  readonly command: string;
  readonly channel: ServerChannel;
  /** Ends the whole connection under the command. */
  drop(): void;
}

/** Answers a command. Default: `true` exits 0, everything else 127. */
export type CommandHandler = (command: FakeCommand) => void;

/** An SSH server in this process whose state a test changes while it runs. */
export class FakeSshServer {
  readonly hostKey: SshKeyPair;
  reception: Reception = 'serve';
  /** Public keys that are let in. */
  readonly authorized = new Set<string>();
  /** Logins that are refused, whatever the key, before one is let in. */
  refusals = 0;
  onCommand: CommandHandler = ({ command, channel }) => exit(channel, command === 'true' ? 0 : 127);
  /** Where it listens or has listened. */
  port = 0;
  /** TCP connections seen so far. */
  connections = 0;
  /** Keys that asked to be let in, in order. */
  readonly offered: string[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<() => void>();
  readonly #ssh: InstanceType<typeof ssh2.Server>;
  readonly #tcp = createServer({ noDelay: true }, (socket) => this.#receive(socket));

  constructor(hostKey: SshKeyPair = generateSshKeyPair()) {
    this.hostKey = hostKey;
    this.#ssh = new ssh2.Server({ hostKeys: [hostKey.privateKey] }, (client) => this.#serve(client));
  }

  async listen(port = 0): Promise<void> {
    this.#tcp.listen(port, '127.0.0.1');
    await once(this.#tcp, 'listening');
    this.port = (this.#tcp.address() as AddressInfo).port;
  }

  /** Settles when this many connections have been seen in all. */
  async connected(count: number): Promise<void> {
    while (this.connections < count) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Number of connections that stand. */
  get open(): number {
    return this.#sockets.size;
  }

  /** Reads nothing more from anybody, as a guest that is paused. */
  freeze(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  dropAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.dropAll();
    if (!this.#tcp.listening) return;
    this.#tcp.close();
    await once(this.#tcp, 'close');
  }

  #receive(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    this.connections += 1;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    // Reads, or it would not see that the peer has gone.
    if (this.reception === 'silent') socket.resume();
    if (this.reception === 'reset') socket.resetAndDestroy();
    if (this.reception === 'garbage') socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    if (this.reception === 'serve') this.#ssh.injectSocket(socket);
  }

  #serve(client: Connection): void {
    client.on('error', () => {});
    client.on('authentication', (context) => this.#authenticate(context));
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec, _reject, { command }) => {
        this.onCommand({ command, channel: acceptExec(), drop: () => client.end() });
      });
    });
  }

  #authenticate(context: AuthContext): void {
    if (context.method !== 'publickey') {
      context.reject(['publickey']);
      return;
    }
    const key = formatPublicKey(context.key.data);
    if (context.signature === undefined) this.offered.push(key);
    if (!this.authorized.has(key)) {
      context.reject(['publickey']);
      return;
    }
    if (context.signature !== undefined && this.refusals > 0) {
      this.refusals -= 1;
      context.reject(['publickey']);
      return;
    }
    context.accept();
  }
}

/** Ends a command with an exit code, after some output. */
export function exit(channel: ServerChannel, code: number, stdout = '', stderr = ''): void {
  if (stderr !== '') channel.stderr.write(stderr);
  if (stdout !== '') channel.write(stdout);
  channel.exit(code);
  channel.end();
}
