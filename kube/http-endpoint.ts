import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ExplainedError } from './explained-error.ts';

export interface HttpEndpointOptions {
  /** 0: any that is free. */
  readonly port: number;
  /** Default: loopback only. */
  readonly host?: string | undefined;
  readonly metrics: () => Promise<{ contentType: string; body: string }>;
  /** Why it is not ready, in a line; undefined when it is. */
  readonly notReady: () => string | undefined;
}

/** Nothing can listen there. The message is one line that names the address. */
export class HttpEndpointError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HttpEndpointError';
  }
}

export interface HttpEndpoint {
  readonly port: number;
  /** Rejects when the server ends by itself. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 64;

/**
 * Serves `/metrics`, `/healthz` (this process answers) and `/readyz` (it knows the state of the world). Throws
 * HttpEndpointError where it cannot listen.
 */
export async function serveHttp(options: HttpEndpointOptions): Promise<HttpEndpoint> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: 5_000 },
    (request, response) => {
      answer(options, request, response).catch(() => reply(response, 500, 'internal error'));
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  const failed = new Promise<never>((_, reject) => {
    server.once('error', (error) =>
      reject(new HttpEndpointError(`the metrics server failed: ${error.message}`)),
    );
  });
  failed.catch(() => undefined);
  return {
    port,
    failed,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  options: HttpEndpointOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return reply(response, 405, 'only GET');
  switch (request.url?.split('?')[0]) {
    case '/metrics': {
      const { contentType, body } = await options.metrics();
      return reply(response, 200, body, contentType);
    }
    case '/healthz':
      return reply(response, 200, 'ok\n');
    case '/readyz': {
      const problem = options.notReady();
      return problem === undefined ? reply(response, 200, 'ok\n') : reply(response, 503, `${problem}\n`);
    }
    default:
      return reply(response, 404, 'there are /metrics, /healthz and /readyz\n');
  }
}

function reply(response: ServerResponse, status: number, body: string, contentType = 'text/plain'): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function listen(server: Server, { port, host = '127.0.0.1' }: HttpEndpointOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'another program listens there' : (error.code ?? error.message);
      reject(new HttpEndpointError(`cannot serve metrics on ${host}:${port}: ${why}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}
