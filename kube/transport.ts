import type { Dispatcher } from 'undici';
import { answerError, type Headers, readBody, retryAfterSeconds } from './answer.ts';
import { type Clock, sleep } from './clock.ts';
import { createDispatcher } from './connections.ts';
import { type Credential, Credentials, type TlsMaterial } from './credentials.ts';
import { ApiError, ApiUnreachable, KubeconfigError, unreachable } from './errors.ts';
import type { ClusterAccess } from './kubeconfig.ts';

export interface TransportOptions {
  readonly access: ClusterAccess;
  readonly clock: Clock;
  readonly userAgent: string;
  /** Bound of each call, waits for a connection and retries included. Nothing is sent after it. */
  readonly timeoutMs: number;
  /** Ends every call and stream, and refuses new ones. */
  readonly signal: AbortSignal | undefined;
  /** The server's `Warning` headers: deprecations, and fields that it does not know. */
  readonly onWarning: ((text: string) => void) | undefined;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Query | undefined;
  readonly body?: object | undefined;
  readonly contentType?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

/** A long answer, read as it comes. */
export interface ApiStream {
  /** Ends when the server ends it; throws {@link ApiUnreachable} when it breaks, is cut or is garbled. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Requests in flight at once; more wait for a connection within their own timeout. */
const MAX_CONNECTIONS = 64;
const MAX_RETRIES = 8;

/**
 * HTTP to one API server: credentials, timeouts, retries, and answers mapped to {@link ApiError} and
 * {@link ApiUnreachable}. HTTP/1.1 on purpose: one stream of events per connection, so that no stalled stream
 * holds up another or a Lease's renewal.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #credentials: Credentials;
  readonly #stop = new AbortController();
  #pools: { readonly tls: TlsMaterial; readonly calls: Dispatcher; readonly streams: Dispatcher } | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#credentials = new Credentials(options.access, options.clock);
    const { signal } = options;
    if (signal?.aborted) this.#stop.abort();
    signal?.addEventListener('abort', () => this.#stop.abort(), { once: true, signal: this.#stop.signal });
  }

  get server(): string {
    return this.#options.access.server;
  }

  /** The body of a successful answer. */
  async call(request: ApiRequest): Promise<string> {
    const deadline = this.#options.clock.monotonic() + (request.timeoutMs ?? this.#options.timeoutMs);
    return await this.#abortable(deadline, async (signal) => await this.#attempts(request, deadline, signal));
  }

  /** The parsed body of a successful answer. */
  async json(request: ApiRequest): Promise<unknown> {
    const body = await this.call(request);
    try {
      return JSON.parse(body);
    } catch (error) {
      throw new ApiUnreachable(
        this.server,
        'Garbled',
        'the answer is not JSON; is this a Kubernetes API server?',
        { cause: error },
      );
    }
  }

  /**
   * Opens a stream: resolves with the first successful answer's body, whose chunks are then read. `signal`
   * ends it; only the opening is bounded by the client's timeout.
   */
  async stream(path: string, query: Query, signal: AbortSignal): Promise<ApiStream> {
    const ended = new AbortController();
    const end = () => ended.abort();
    const release = () => {
      signal.removeEventListener('abort', end);
      this.#stop.signal.removeEventListener('abort', end);
    };
    if (signal.aborted || this.#stop.signal.aborted) end();
    signal.addEventListener('abort', end);
    this.#stop.signal.addEventListener('abort', end);
    let timedOut = false;
    const timer = this.#options.clock.setTimeout(() => {
      timedOut = true;
      end();
    }, this.#options.timeoutMs);
    try {
      const body = await this.#openStream(path, query, ended.signal);
      return { chunks: this.#readStream(body, ended.signal, release) };
    } catch (error) {
      release();
      throw this.#explain(error, timedOut);
    } finally {
      timer.cancel();
    }
  }

  /** Ends everything in flight and closes all connections. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.calls.destroy(), pools?.streams.destroy()]);
  }

  async #openStream(
    path: string,
    query: Query,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData['body']> {
    for (let attempt = 0; ; attempt += 1) {
      const credential = await unlessAborted(signal, this.#credentials.current());
      const response = await this.#poolsFor(credential.tls).streams.request({
        ...this.#target({ method: 'GET', path, query }, credential),
        headersTimeout: 0,
        bodyTimeout: 0,
        signal,
      });
      if (response.statusCode === 200) {
        this.#warn(response.headers);
        return response.body;
      }
      const body = await readBody(response.body);
      if (response.statusCode === 401 && attempt === 0) this.#credentials.invalidate(credential);
      else throw answerError(response.statusCode, body, retryAfterSeconds(response.headers));
    }
  }

  async *#readStream(
    body: Dispatcher.ResponseData['body'],
    signal: AbortSignal,
    release: () => void,
  ): AsyncGenerator<Uint8Array, void> {
    try {
      for await (const chunk of body) yield chunk;
    } catch (error) {
      throw signal.aborted ? this.#explain(error, false) : unreachable(this.server, error);
    } finally {
      release();
      body.on('error', () => undefined);
      body.destroy();
    }
  }

  async #attempts(request: ApiRequest, deadline: number, signal: AbortSignal): Promise<string> {
    let reauthenticated = false;
    for (let retries = 0; ; retries += 1) {
      const outcome = await this.#once(request, deadline, signal);
      if ('body' in outcome) return outcome.body;
      if (outcome.error.code === 401 && !reauthenticated) {
        reauthenticated = true;
        this.#credentials.invalidate(outcome.credential);
        continue;
      }
      const waitMs = retryDelayMs(request, outcome, retries);
      if (waitMs === undefined || this.#options.clock.monotonic() + waitMs >= deadline) throw outcome.error;
      await sleep(this.#options.clock, waitMs, signal);
    }
  }

  async #once(request: ApiRequest, deadline: number, signal: AbortSignal): Promise<Outcome> {
    const credential = await unlessAborted(signal, this.#credentials.current());
    // The timer that ends the call may be late, as after this process was stopped and resumed.
    if (this.#options.clock.monotonic() >= deadline) {
      throw new ApiUnreachable(this.server, 'Timeout', 'no answer in time');
    }
    try {
      const response = await this.#poolsFor(credential.tls).calls.request({
        ...this.#target(request, credential),
        body: request.body === undefined ? null : JSON.stringify(request.body),
        headersTimeout: 0,
        bodyTimeout: 0,
        signal,
      });
      const body = await readBody(response.body);
      this.#warn(response.headers);
      if (response.statusCode >= 200 && response.statusCode < 300) return { body };
      const retryAfter = retryAfterSeconds(response.headers);
      return { error: answerError(response.statusCode, body, retryAfter), retryAfter, credential };
    } catch (error) {
      if (signal.aborted) throw error;
      const failure = unreachable(this.server, error);
      if (request.method === 'GET' && failure.reason === 'Reset') return { error: failure, credential };
      throw failure;
    }
  }

  #target(request: ApiRequest, credential: Credential) {
    const url = new URL(this.server + request.path);
    for (const [key, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    return {
      origin: url.origin,
      path: url.pathname + url.search,
      method: request.method,
      headers: {
        accept: 'application/json',
        'user-agent': this.#options.userAgent,
        ...(request.body !== undefined && { 'content-type': request.contentType ?? 'application/json' }),
        ...credential.headers,
      },
    } satisfies Partial<Dispatcher.RequestOptions>;
  }

  #poolsFor(tls: TlsMaterial): { readonly calls: Dispatcher; readonly streams: Dispatcher } {
    if (this.#stop.signal.aborted) {
      throw new ApiUnreachable(this.server, 'Stopped', 'the client was stopped');
    }
    if (this.#pools?.tls === tls) return this.#pools;
    const old = this.#pools;
    // Streams on the old certificate run on until they end; nothing new is sent there.
    void Promise.allSettled([old?.calls.close(), old?.streams.close()]);
    const { access } = this.#options;
    this.#pools = {
      tls,
      calls: createDispatcher(access, tls, MAX_CONNECTIONS),
      streams: createDispatcher(access, tls, undefined),
    };
    return this.#pools;
  }

  async #abortable<R>(deadline: number, work: (signal: AbortSignal) => Promise<R>): Promise<R> {
    const controller = new AbortController();
    const abort = () => controller.abort();
    let timedOut = false;
    const timer = this.#options.clock.setTimeout(() => {
      timedOut = true;
      abort();
    }, deadline - this.#options.clock.monotonic());
    if (this.#stop.signal.aborted) abort();
    this.#stop.signal.addEventListener('abort', abort);
    try {
      return await work(controller.signal);
    } catch (error) {
      throw this.#explain(error, timedOut);
    } finally {
      timer.cancel();
      this.#stop.signal.removeEventListener('abort', abort);
    }
  }

  #explain(error: unknown, timedOut: boolean): unknown {
    if (error instanceof ApiError || error instanceof KubeconfigError) return error;
    if (this.#stop.signal.aborted) {
      return new ApiUnreachable(this.server, 'Stopped', 'the client was stopped', { cause: error });
    }
    if (timedOut) return new ApiUnreachable(this.server, 'Timeout', 'no answer in time', { cause: error });
    return unreachable(this.server, error);
  }

  #warn(headers: Headers): void {
    const { onWarning } = this.#options;
    const value = headers.warning;
    if (onWarning === undefined || value === undefined) return;
    for (const text of Array.isArray(value) ? value : [value]) {
      const message = /^\d+ \S+ "((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
      onWarning(message?.replaceAll(/\\(.)/g, '$1') ?? text);
    }
  }
}

type Outcome = { readonly body: string } | Failure;

interface Failure {
  readonly error: (ApiError | ApiUnreachable) & { readonly code?: number };
  readonly retryAfter?: number | undefined;
  readonly credential: Credential;
}

/**
 * When to try again. A 429 was not carried out, whatever the verb; the other failures are repeated for reads
 * only. Undefined: not at all.
 */
function retryDelayMs(request: ApiRequest, failure: Failure, retries: number): number | undefined {
  if (retries >= MAX_RETRIES) return undefined;
  const { error, retryAfter } = failure;
  const backoff = Math.min(50 * 2 ** retries, 2_000) * (0.5 + Math.random() / 2);
  if (error instanceof ApiUnreachable) return retries < 2 ? backoff : undefined;
  if (error.code === 429) return Math.max(backoff, (retryAfter ?? 0) * 1000);
  if (request.method === 'GET' && error.code >= 500 && retryAfter !== undefined) {
    return Math.max(backoff, retryAfter * 1000);
  }
  return undefined;
}

/** Rejects as soon as `signal` is aborted; what was waited for goes on by itself and is bounded by itself. */
async function unlessAborted<R>(signal: AbortSignal, work: Promise<R>): Promise<R> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(new Error('aborted'));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort);
  work.catch(() => undefined);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
