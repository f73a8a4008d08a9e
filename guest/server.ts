import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { GuestStatus } from './protocol.ts';

const REQUEST_MS = 5_000;
const MAX_CONNECTIONS = 32;
const MAX_HEADER_BYTES = 8 * 1024;

/**
 * The agent's HTTP server: GET /health for everyone, GET /status for who has the token. It takes no other
 * method, no body and no command. Slow and surplus clients are cut off.
 */
export function createStatusServer(token: string, status: () => GuestStatus): Server {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: REQUEST_MS,
    },
    (request, response) => reply(response, answer(request, token, status)),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(REQUEST_MS);
  return server;
}

interface Answer {
  readonly code: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}

function answer(request: IncomingMessage, token: string, status: () => GuestStatus): Answer {
  const path = request.url?.split('?', 1)[0];
  if (path !== '/health' && path !== '/status') return { code: 404, body: { error: 'not found' } };
  if (request.method !== 'GET') {
    return { code: 405, body: { error: 'method not allowed' }, headers: { allow: 'GET' } };
  }
  if (path === '/health') return { code: 200, body: { ok: true } };
  if (carries(request.headers.authorization, token)) return { code: 200, body: status() };
  return {
    code: 401,
    body: { error: 'the token is missing or wrong' },
    headers: { 'www-authenticate': 'Bearer' },
  };
}

/** Takes the same time wherever the first difference lies. */
function carries(authorization: string | undefined, token: string): boolean {
  const given = Buffer.from(authorization ?? '');
  const expected = Buffer.from(`Bearer ${token}`);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function reply(response: ServerResponse, { code, body, headers }: Answer): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(code, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
    ...headers,
  });
  response.end(text);
}
