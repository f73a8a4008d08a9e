import { createHash, timingSafeEqual } from 'node:crypto';
import type { GuestReport } from '../../guest/protocol.ts';
import { normalizeMac, parseReport } from './messages.ts';

/** One start of one Runner. */
export interface GuestRef {
  readonly uid: string;
  readonly attempt: number;
}

/** A VM whose reports are welcome. */
export interface ExpectedGuest extends GuestRef {
  /** The VM's secret. Kept only as its digest. */
  readonly token: string;
  readonly mac: string;
}

/** What became of a report. */
export type Delivery = 'accepted' | 'unauthorized' | 'malformed' | 'throttled';

interface Entry {
  readonly digest: Buffer;
  readonly mac: string;
  readonly onReport: (report: GuestReport) => void;
  windowStart: number;
  inWindow: number;
}

/** An agent sends a few reports in its VM's whole life. */
const WINDOW_MS = 10_000;
const MOST_IN_WINDOW = 50;

/** The guests that are expected, and the judgement on who a report is from. */
export class GuestRegister {
  readonly #byDigest = new Map<string, Entry>();
  readonly #digests = new Map<string, string>();
  readonly #monotonic: () => number;

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** Throws for a token that another guest has: that is a bug, tokens are random. */
  add(guest: ExpectedGuest, onReport: (report: GuestReport) => void): void {
    const digest = digestOf(guest.token);
    const key = digest.toString('hex');
    this.remove(guest);
    if (this.#byDigest.has(key)) throw new Error(`two guests have one token; the second is ${refKey(guest)}`);
    this.#digests.set(refKey(guest), key);
    const mac = normalizeMac(guest.mac);
    this.#byDigest.set(key, { digest, mac, onReport, windowStart: this.#monotonic(), inWindow: 0 });
  }

  remove(guest: GuestRef): void {
    const key = this.#digests.get(refKey(guest));
    if (key === undefined) return;
    this.#digests.delete(refKey(guest));
    this.#byDigest.delete(key);
  }

  /** Hands a report to whom it concerns. A right token with another VM's MAC is as good as none. */
  deliver(token: string | undefined, body: string): Delivery {
    const entry = token === undefined ? undefined : this.#find(token);
    if (entry === undefined) return 'unauthorized';
    if (!this.#admit(entry)) return 'throttled';
    const report = parseReport(body);
    if (report === undefined) return 'malformed';
    if (report.mac !== entry.mac) return 'unauthorized';
    entry.onReport(report);
    return 'accepted';
  }

  /** Looked up by digest, so that no comparison tells how much of a guessed token is right. */
  #find(token: string): Entry | undefined {
    const digest = digestOf(token);
    const entry = this.#byDigest.get(digest.toString('hex'));
    return entry !== undefined && timingSafeEqual(entry.digest, digest) ? entry : undefined;
  }

  #admit(entry: Entry): boolean {
    const now = this.#monotonic();
    if (now - entry.windowStart >= WINDOW_MS) {
      entry.windowStart = now;
      entry.inWindow = 0;
    }
    entry.inWindow += 1;
    return entry.inWindow <= MOST_IN_WINDOW;
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

const refKey = ({ uid, attempt }: GuestRef): string => `${uid}.${attempt}`;
