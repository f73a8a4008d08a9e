import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { GuestReport } from '../../guest/protocol.ts';
import type { Logger } from '../log.ts';
import { parseReport } from './report.ts';

/** A VM whose reports are welcome. */
export interface ExpectedGuest {
  /** The VM's secret. Only its hash is kept. */
  readonly token: string;
  readonly mac: string;
  readonly uid: string;
  readonly attempt: number;
}

export interface GuestLink {
  readonly port: number;
  /** Calls back for each report that carries the VM's token and names its MAC. A second call replaces the first. */
  expect(guest: ExpectedGuest, onReport: (report: GuestReport) => void): void;
  /** Idempotent. */
  forget(vm: { readonly uid: string; readonly attempt: number }): void;
  /** Reports that were taken and refused since the start. */
  counts(): { readonly accepted: number; readonly refused: number };
  close(): Promise<void>;
}

/** The guest link cannot listen. The message is one line that names the flag. */
export class GuestLinkError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'GuestLinkError';
  }
}

const MAX_BODY_BYTES = 4096;
const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 256;

interface Guest {
  readonly key: string;
  readonly mac: string;
  readonly onReport: (report: GuestReport) => void;
}

/**
 * Where guests report to the host: `POST /notify`. A VM is known by its token and its MAC together, never by
 * where or when a report comes from: two guests that boot at once cannot be taken for one another.
 */
export async function startGuestLink(options: {
  host: string;
  port: number;
  log: Logger;
}): Promise<GuestLink> {
  const link = new Link(options.log);
  await link.listen(options.host, options.port);
  return link;
}

class Link implements GuestLink {
  readonly #log: Logger;
  readonly #server: Server;
  /** By the hash of the token, so that looking one up tells nothing of how near a guess was. */
  readonly #guests = new Map<string, Guest>();
  #accepted = 0;
  #refused = 0;

  constructor(log: Logger) {
    this.#log = log;
    const limits = {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: 5_000,
    };
    this.#server = createServer(limits, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        const why = error.code === 'EADDRINUSE' ? 'another program listens there' : error.message;
        const message = `--guest-link-port: cannot listen on ${host}:${port}: ${why}; choose another port, or 0 for any`;
        reject(new GuestLinkError(message, { cause: error }));
      });
      this.#server.listen(port, host, resolve);
    });
  }

  expect(guest: ExpectedGuest, onReport: (report: GuestReport) => void): void {
    const key = keyOf(guest);
    this.forget(guest);
    this.#guests.set(hashOf(guest.token), { key, mac: guest.mac.toLowerCase(), onReport });
  }

  forget(vm: { readonly uid: string; readonly attempt: number }): void {
    const key = keyOf(vm);
    for (const [hash, guest] of this.#guests) if (guest.key === key) this.#guests.delete(hash);
  }

  counts(): { accepted: number; refused: number } {
    return { accepted: this.#accepted, refused: this.#refused };
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url !== '/notify') return reply(response, 404);
    if (request.method !== 'POST') return reply(response, 405);
    const body = await readBody(request);
    if (body === undefined) return reply(response, 413);
    const report = parseReport(body);
    if (report === undefined) return reply(response, 400);
    const guest = this.#find(request.headers.authorization, report.mac);
    if (guest === undefined) {
      this.#refused += 1;
      this.#log.warn(
        { mac: report.mac, from: request.socket.remoteAddress },
        'a report of no VM of ours was refused',
      );
      return reply(response, 401);
    }
    this.#accepted += 1;
    guest.onReport(report);
    return reply(response, 204);
  }

  #find(authorization: string | undefined, mac: string): Guest | undefined {
    const token = /^Bearer ([0-9a-f]{1,128})$/.exec(authorization ?? '')?.[1];
    if (token === undefined) return undefined;
    const guest = this.#guests.get(hashOf(token));
    return guest !== undefined && isSame(guest.mac, mac.toLowerCase()) ? guest : undefined;
  }
}

const keyOf = ({ uid, attempt }: { readonly uid: string; readonly attempt: number }): string =>
  `${uid}.${attempt}`;

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

const isSame = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** undefined where it is larger than any report. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reply(response: ServerResponse, status: number): void {
  response.writeHead(status, { connection: status === 413 ? 'close' : 'keep-alive' }).end();
}
