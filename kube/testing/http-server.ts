import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A request as it arrived. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** An HTTP server on a free port of the loopback interface, for tests of what a client sends and makes of answers. */
export class TestServer {
  readonly seen: SeenRequest[] = [];
  readonly url: string;
  /** Most connections that were open at once. */
  maxConnections = 0;
  readonly #server: Server;
  #connections = 0;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.url = `${scheme}://localhost:${(server.address() as AddressInfo).port}`;
    server.on('connection', (socket) => {
      this.#connections += 1;
      this.maxConnections = Math.max(this.maxConnections, this.#connections);
      socket.once('close', () => {
        this.#connections -= 1;
      });
    });
  }

  static async start(answer: RequestListener, tls?: ServerOptions): Promise<TestServer> {
    const seen: SeenRequest[] = [];
    const listener: RequestListener = (request, response) => {
      let body = '';
      request.setEncoding('utf8');
      request.on('data', (chunk: string) => {
        body += chunk;
      });
      request.on('end', () => {
        seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
        answer(request, response);
      });
    };
    const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const started = new TestServer(server, tls === undefined ? 'http' : 'https');
    Object.assign(started, { seen });
    return started;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
