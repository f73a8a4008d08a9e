import { backoffMs } from './backoff.ts';
import { type Collection, listAllPages, type WatchOptions } from './client.ts';
import { type Clock, sleep } from './clock.ts';
import { ApiError, ApiUnreachable, isGone, isResourceVersionTooLarge, isTooManyRequests } from './errors.ts';
import type { KubeObject, Stored } from './object.ts';
import type { WatchEvent } from './watch.ts';

/** Where a reflector puts what it sees. Called synchronously, in order. */
export interface ReflectorSink<T extends KubeObject> {
  /** An object of a list that is not complete yet, and may never be. */
  listed(object: Stored<T>): void;
  /** A complete list as of `resourceVersion`. */
  replace(items: readonly Stored<T>[], resourceVersion: string): void;
  apply(event: WatchEvent<T>): void;
  /** Something was heard from the API server. */
  contact(): void;
  /** A list or watch failed and is tried again in `retryInMs`. `failures` counts since the last success. */
  problem(error: Error, failures: number, retryInMs: number): void;
}

export interface ReflectorOptions<T extends KubeObject> {
  readonly collection: Collection<T>;
  readonly namespace: string | undefined;
  readonly labelSelector: string | undefined;
  readonly fieldSelector: string | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  /** A watch that shows neither event nor bookmark for so long is taken for dead and opened anew. */
  readonly silenceMs: number;
  /** False: never ask for a streaming list. */
  readonly streamingLists: boolean;
}

const BACKOFF = { baseMs: 200, maxMs: 15_000 };
/**
 * Where nobody listens, as while an API server restarts: a try costs the server nothing, and a pause longer than
 * this would be blindness after it is back.
 */
const REFUSED_BACKOFF = { baseMs: 200, maxMs: 800 };
/**
 * In the seconds after nobody listened, a server that answers is starting: it turns requests away before it does any
 * work for them ("before all known HTTP paths have been installed", "storage is (re)initializing", a CRD that it
 * does not serve yet), and takes writes a moment later.
 */
const STARTING_BACKOFF = { baseMs: 200, maxMs: 400 };
const STARTING_MS = 15_000;
const MIN_WATCH_SECONDS = 300;
/** A position that the server keeps failing at is given up after so many tries, and listed anew. */
const GIVE_UP_POSITION_AFTER = 3;

/**
 * Keeps a sink in step with one collection until stopped: lists (streaming where the server can, paged where
 * not), watches from there, and goes on from the last position seen, whatever breaks.
 */
export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #sink: ReflectorSink<T>;
  #position: string | undefined;
  #streaming: boolean;
  #failures = 0;
  /** Of the failures, those where nobody listened: they say nothing of how a server that answers fares. */
  #refusals = 0;
  /** Of the failures, those at a server that was starting. */
  #tooEarly = 0;
  /** When the server was last known not to serve yet, on the monotonic clock. */
  #downAt = Number.NEGATIVE_INFINITY;

  constructor(options: ReflectorOptions<T>, sink: ReflectorSink<T>) {
    this.#options = options;
    this.#sink = sink;
    this.#streaming = options.streamingLists;
  }

  /** Runs until `signal` is aborted. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const error = await this.#session(signal);
      if (signal.aborted) return;
      if (error === undefined) continue;
      this.#failures += 1;
      const retryInMs = this.#reconsider(error) ? 0 : this.#pauseAfter(error);
      this.#sink.problem(error, this.#failures, retryInMs);
      await sleep(this.#options.clock, retryInMs, signal);
    }
  }

  #pauseAfter(error: Error): number {
    const { clock, random } = this.#options;
    const now = clock.monotonic();
    if (error instanceof ApiUnreachable && error.reason === 'Refused') {
      this.#downAt = now;
      this.#refusals += 1;
      return backoffMs(this.#refusals, REFUSED_BACKOFF, random);
    }
    // Who was waiting while nobody listened sees the end of it only; one that says so for ever is believed once.
    if (this.#tooEarly === 0 && saysItStarts(error)) this.#downAt = now;
    if (now - this.#downAt < STARTING_MS && !isOverloaded(error)) {
      this.#tooEarly += 1;
      return backoffMs(this.#tooEarly, STARTING_BACKOFF, random);
    }
    const failures = this.#failures - this.#refusals - this.#tooEarly;
    return Math.max(askedPauseMs(error), backoffMs(failures, BACKOFF, random));
  }

  /** One watch, with the list that it needs; what ended it, unless it ended as it should. */
  async #session(stop: AbortSignal): Promise<Error | undefined> {
    const controller = new AbortController();
    const abort = () => controller.abort();
    stop.addEventListener('abort', abort, { once: true });
    if (stop.aborted) abort();
    const watchdog = new Watchdog(this.#options.clock, this.#options.silenceMs, abort);
    const onContact = () => {
      watchdog.reset();
      this.#sink.contact();
    };
    try {
      if (this.#position === undefined && !this.#streaming) await this.#listPages();
      watchdog.reset();
      const heard = await this.#watch({ ...this.#watchOptions(), signal: controller.signal, onContact });
      return heard ? undefined : new Error('the watch ended at once, without any event');
    } catch (error) {
      if (watchdog.expired) return new SilentWatch(this.#options.silenceMs);
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      watchdog.stop();
      abort();
      stop.removeEventListener('abort', abort);
    }
  }

  #watchOptions(): Omit<WatchOptions, 'signal' | 'onContact'> {
    const { namespace, labelSelector, fieldSelector, random } = this.#options;
    return {
      namespace,
      labelSelector,
      fieldSelector,
      timeoutSeconds: Math.round(MIN_WATCH_SECONDS * (1 + random())),
      ...(this.#position === undefined ? { initialEvents: true } : { resourceVersion: this.#position }),
    };
  }

  async #listPages(): Promise<void> {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    const list = await listAllPages(this.#options.collection, { namespace, labelSelector, fieldSelector });
    this.#sink.contact();
    this.#replace(list.items, list.resourceVersion);
  }

  /** True where the watch told anything, or lived long enough to have been useful. */
  async #watch(options: WatchOptions): Promise<boolean> {
    const { clock } = this.#options;
    const openedAt = clock.monotonic();
    let heard = false;
    let initial: Map<string, Stored<T>> | undefined = options.initialEvents ? new Map() : undefined;
    for await (const event of this.#options.collection.watch(options)) {
      if (options.signal.aborted) break;
      if (initial === undefined) {
        this.#follow(event);
        heard = true;
      } else if (event.type !== 'BOOKMARK') {
        collectInitial(initial, event);
        if (event.type !== 'DELETED') this.#sink.listed(event.object);
      } else if (event.initialEventsEnd) {
        this.#replace([...initial.values()], event.resourceVersion);
        initial = undefined;
        heard = true;
      }
    }
    if (initial !== undefined) throw new StreamingListUnsupported();
    return heard || clock.monotonic() - openedAt > 1000;
  }

  #replace(items: readonly Stored<T>[], resourceVersion: string): void {
    this.#position = resourceVersion;
    this.#succeeded();
    this.#sink.replace(items, resourceVersion);
  }

  #follow(event: WatchEvent<T>): void {
    this.#position =
      event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion;
    this.#succeeded();
    this.#sink.apply(event);
  }

  #succeeded(): void {
    this.#failures = 0;
    this.#refusals = 0;
    this.#tooEarly = 0;
  }

  /** Draws the conclusions from a failure. True where trying again at once makes sense. */
  #reconsider(error: Error): boolean {
    const relisting = this.#position === undefined;
    if (isGone(error)) {
      this.#position = undefined;
      return !relisting;
    }
    if (relisting && this.#streaming && refusesStreamingLists(error)) {
      this.#streaming = false;
      return true;
    }
    const suspicious =
      isResourceVersionTooLarge(error) || (error instanceof ApiUnreachable && error.reason === 'Garbled');
    if (suspicious && this.#failures >= GIVE_UP_POSITION_AFTER) this.#position = undefined;
    return false;
  }
}

/** A watch on which nothing was heard for so long that it must be dead. */
export class SilentWatch extends Error {
  constructor(silenceMs: number) {
    super(`nothing was heard on the watch for ${Math.round(silenceMs / 1000)} s: it is opened anew`);
    this.name = 'SilentWatch';
  }
}

class StreamingListUnsupported extends Error {
  constructor() {
    super('the server ended a streaming list before it was complete');
    this.name = 'StreamingListUnsupported';
  }
}

/** Servers without WatchList, or with its feature gate off, refuse the parameter or never send the closing bookmark. */
function refusesStreamingLists(error: Error): boolean {
  if (error instanceof StreamingListUnsupported || error instanceof SilentWatch) return true;
  return error instanceof ApiError && (error.code === 400 || error.code === 422);
}

const saysItStarts = (error: Error): boolean =>
  error instanceof ApiError && /before all known HTTP paths have been installed/.test(error.message);

/** 429 of a server that has too much to do. It says the same, with a fixed second, while it fills a cache anew. */
const isOverloaded = (error: Error): boolean =>
  isTooManyRequests(error) && !/\(re\)initializing/.test(error.message);

/** What the server asked to wait. More than the longest back-off is nobody's to ask. */
function askedPauseMs(error: Error): number {
  const seconds = error instanceof ApiError ? error.details?.retryAfterSeconds : undefined;
  return Math.min((seconds ?? 0) * 1000, BACKOFF.maxMs);
}

function collectInitial<T extends KubeObject>(
  initial: Map<string, Stored<T>>,
  event: Exclude<WatchEvent<T>, { type: 'BOOKMARK' }>,
): void {
  if (event.type === 'DELETED') initial.delete(event.object.metadata.uid);
  else initial.set(event.object.metadata.uid, event.object);
}

/** Calls back once when it was not reset for a while. */
class Watchdog {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #bark: () => void;
  #lastReset: number;
  #timer: { cancel(): void } | undefined;
  expired = false;

  constructor(clock: Clock, limitMs: number, bark: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#bark = bark;
    this.#lastReset = clock.monotonic();
    this.#arm(limitMs);
  }

  /** Cheap: the timer is only moved when it fires. */
  reset(): void {
    this.#lastReset = this.#clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.setTimeout(() => {
      const leftMs = this.#lastReset + this.#limitMs - this.#clock.monotonic();
      if (leftMs > 0) {
        this.#arm(leftMs);
        return;
      }
      this.expired = true;
      this.#bark();
    }, ms);
  }
}
