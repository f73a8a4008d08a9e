import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { GuestReport } from '../../guest/protocol.ts';
import { type Clock, systemClock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import { GuestLinkError } from './errors.ts';
import { type ExpectedGuest, type GuestRef, GuestRegister } from './register.ts';

export interface GuestLinkOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Logger;
  readonly clock?: Clock | undefined;
}

/** What became of the requests so far. */
export interface GuestLinkCounts {
  readonly accepted: number;
  /** A token that is missing or unknown, or another VM's MAC. */
  readonly unauthorized: number;
  /** Not of the protocol: another path or method, too long, no report. */
  readonly malformed: number;
  /** More reports of one guest than any agent sends. */
  readonly throttled: number;
}

/** The host's end of the conversation that guests begin. */
export interface GuestLink {
  readonly host: string;
  readonly port: number;
  /**
   * Makes a guest's reports welcome; before, and after `forget`, they are refused and the agent tries again.
   * A second call for the same UID and attempt replaces the first. `onReport` is called in the order in which
   * reports arrive; it may see one twice and must be quick.
   */
  expect(guest: ExpectedGuest, onReport: (report: GuestReport) => void): void;
  forget(guest: GuestRef): void;
  counts(): GuestLinkCounts;
  /** Cuts off who is connected. Returns when the port is free. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 4 * 1024;
const MAX_HEADER_BYTES = 8 * 1024;
const REQUEST_MS = 5_000;
const MAX_CONNECTIONS = 256;

/**
 * Listens for reports: POST /notify with `Authorization: Bearer <token>`. Whoever can reach the port may try;
 * who a report is from is told by its token and its MAC together, and by nothing else. Rejects with a
 * {@link GuestLinkError} where it cannot listen.
 */
export async function startGuestLink(options: GuestLinkOptions): Promise<GuestLink> {
  const { host, log, clock = systemClock } = options;
  const register = new GuestRegister(() => clock.monotonic());
  const counts = { accepted: 0, unauthorized: 0, malformed: 0, throttled: 0 };
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => void serve(request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(REQUEST_MS, (socket) => socket.destroy());
  server.on('clientError', (_error, socket) => {
    counts.malformed += 1;
    socket.destroy();
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const outcome = await receive(request, register).catch(() => 'malformed' as const);
    counts[outcome] += 1;
    // Anything that can reach the port could fill the log: the 1st, 2nd, 4th, 8th … refusal is told.
    const told = outcome !== 'accepted' && (counts[outcome] & (counts[outcome] - 1)) === 0;
    if (told) log.warn({ outcome, count: counts[outcome] }, 'a report to the guest link was refused');
    response.writeHead(STATUS[outcome], { connection: 'close', 'content-length': 0 }).end();
  }

  const port = await listen(server, host, options.port);
  return {
    host,
    port,
    expect: (guest, onReport) => {
      register.add(guest, (report) => {
        try {
          onReport(report);
        } catch (error) {
          log.error({ err: error, uid: guest.uid, attempt: guest.attempt }, 'a report could not be handled');
        }
      });
    },
    forget: (guest) => register.remove(guest),
    counts: () => ({ ...counts }),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

const STATUS = { accepted: 204, unauthorized: 401, malformed: 400, throttled: 429 } as const;

async function receive(request: IncomingMessage, register: GuestRegister): Promise<keyof typeof STATUS> {
  const body = await readBody(request);
  if (body === undefined || request.method !== 'POST' || request.url !== '/notify') return 'malformed';
  const [, token] = /^Bearer ([!-~]+)$/.exec(request.headers.authorization ?? '') ?? [];
  return register.deliver(token, body);
}

/** undefined where it is too long. Rejects where it ends early; the server's timeouts bound it. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Left open for the answer where it is too long.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const CANNOT_LISTEN: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there; choose another port for the guest link',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'not permitted; choose a port above 1023 for the guest link',
};

async function listen(server: Server, host: string, port: number): Promise<number> {
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, 'listening');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const why = CANNOT_LISTEN[code] ?? code;
    throw new GuestLinkError('listen', `the guest link cannot listen on ${host}:${port}: ${why}`, {
      cause: error,
    });
  }
  return (server.address() as AddressInfo).port;
}
