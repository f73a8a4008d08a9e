import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between a client and a server, and breaks as networks do. */
export class TcpProxy {
  readonly port: number;
  /** New connections are closed at once. */
  refusing = false;
  /** Connections that were made. */
  accepted = 0;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();

  private constructor(server: Server, target: URL) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => this.#forward(client, target));
  }

  static async start(target: string): Promise<TcpProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new TcpProxy(server, new URL(target));
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Breaks all connections. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Half-open: existing connections stay, and nothing comes through any more, in either direction. */
  freeze(): void {
    for (const [client, server] of this.#pairs) {
      client.unpipe();
      server.unpipe();
      client.resume();
      server.resume();
      client.on('data', () => undefined);
      server.on('data', () => undefined);
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #forward(client: Socket, target: URL): void {
    if (this.refusing) {
      client.destroy();
      return;
    }
    this.accepted += 1;
    const server = connect(Number(target.port), target.hostname);
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    const end = () => {
      client.destroy();
      server.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    client.pipe(server);
    server.pipe(client);
  }
}
