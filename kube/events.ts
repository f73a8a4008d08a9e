import { type Clock, sleep, systemClock } from './clock.ts';
import { ApiError, isForbidden, isNotFound, isTooManyRequests } from './errors.ts';
import { microTime } from './micro-time.ts';
import type { KubeObject, ResourceType, Stored } from './object.ts';
import { WorkQueue } from './queue.ts';
import type { Resources } from './resources.ts';
import { TokenBucket } from './token-bucket.ts';

interface Reference {
  apiVersion: string;
  kind: string;
  namespace?: string | undefined;
  name: string;
  uid?: string | undefined;
}

/** events.k8s.io/v1 Event, as far as it is used here. */
export interface KubeEvent extends KubeObject {
  apiVersion: 'events.k8s.io/v1';
  kind: 'Event';
  eventTime: string;
  type: 'Normal' | 'Warning';
  reason: string;
  action: string;
  note: string;
  regarding: Reference;
  related?: Reference | undefined;
  reportingController: string;
  reportingInstance: string;
  series?: { count: number; lastObservedTime: string } | undefined;
}

export const EVENTS: ResourceType<KubeEvent> = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};

/** What a person would want to know. Never holds a secret. */
export interface EventText {
  readonly type: 'Normal' | 'Warning';
  /** Why, as one CamelCase word. */
  readonly reason: string;
  /** What was done or tried, as one CamelCase word. Default: the reason. */
  readonly action?: string | undefined;
  /** A sentence; cut at 1024 bytes. */
  readonly note: string;
  readonly related?: KubeObject | undefined;
}

export interface EventRecorderOptions {
  readonly resources: Pick<Resources<KubeEvent>, 'create' | 'patch'>;
  /** Like `shoesvz.dev/controller`. */
  readonly reportingController: string;
  /** Which one of them, like a host name. */
  readonly reportingInstance: string;
  /** Events were lost: there were too many, or the API server would not have them. */
  readonly onDropped?: ((why: string) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
}

/** Kubernetes counts the same event within so long as a series. */
const SERIES_MS = 6 * 60_000;
/** How often the count of a series is written. */
const SERIES_WRITE_EVERY_MS = 60_000;
const MAX_ENTRIES = 2_000;
const MAX_NOTE_BYTES = 1_024;
/** How long a write is tried. */
const MAX_AGE_MS = 10 * 60_000;
/** Writes of all events together. */
const TOTAL_RATE = { capacity: 50, perSecond: 10 };
/** New events about one object. */
const OBJECT_RATE = { capacity: 25, perSecond: 1 / 60 };

interface Entry {
  readonly event: KubeEvent;
  count: number;
  lastSeen: number;
  lastSeenWall: number;
  written: Stored<KubeEvent> | undefined;
  writtenCount: number;
}

/**
 * Records Events. Recording never waits and never fails: what cannot be written in time is dropped, and said to
 * be. The same event again within six minutes is counted in the first one's series.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #perObject = new Map<string, TokenBucket>();
  readonly #total: TokenBucket;
  readonly #queue: WorkQueue;
  /** Aborted on stop: rates no longer count, and nothing is recorded any more. */
  readonly #stopping = new AbortController();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#total = new TokenBucket({ ...TOTAL_RATE, clock: this.#clock });
    this.#queue = new WorkQueue({
      concurrency: 2,
      clock: this.#clock,
      handle: async (key) => await this.#write(key),
      onError: (key, error) => this.#failed(key, error),
    });
    this.#queue.start();
  }

  /** Cluster-scoped objects' events go to the namespace `default`, as kubectl describe expects. */
  record(regarding: KubeObject, text: EventText): void {
    if (this.#stopping.signal.aborted) return;
    const event = this.#compose(regarding, text);
    const key = seriesKey(event);
    const now = this.#clock.monotonic();
    const entry = this.#entries.get(key);
    if (entry !== undefined && now - entry.lastSeen <= SERIES_MS) {
      entry.count += 1;
      entry.lastSeen = now;
      entry.lastSeenWall = this.#clock.now();
      this.#queue.addAfter(key, entry.written === undefined ? 0 : SERIES_WRITE_EVERY_MS);
      return;
    }
    if (!this.#admit(event)) return;
    this.#entries.delete(key);
    const lastSeenWall = this.#clock.now();
    const fresh = { event, count: 1, lastSeen: now, lastSeenWall, writtenCount: 0 };
    this.#entries.set(key, { ...fresh, written: undefined });
    this.#queue.add(key);
  }

  /** Writes what waits, for at most `deadlineMs`. Nothing is recorded afterwards. */
  async stop(options: { deadlineMs: number }): Promise<void> {
    this.#stopping.abort();
    for (const [key, entry] of this.#entries) if (isDue(entry)) this.#queue.add(key);
    const deadline = new AbortController();
    await Promise.race([
      this.#queue.shutdown({ drain: true }).finally(() => deadline.abort()),
      sleep(this.#clock, options.deadlineMs, deadline.signal),
    ]);
    const left = [...this.#entries.values()].filter(isDue).length;
    if (left > 0) this.#options.onDropped?.(`${left} events could not be written before the end`);
  }

  #admit(event: KubeEvent): boolean {
    const object = event.regarding.uid ?? `${event.regarding.kind}/${event.regarding.name}`;
    let bucket = this.#perObject.get(object);
    if (bucket === undefined) {
      bucket = new TokenBucket({ ...OBJECT_RATE, clock: this.#clock });
      evictOldest(this.#perObject, MAX_ENTRIES);
      this.#perObject.set(object, bucket);
    }
    if (bucket.take() > 0) {
      this.#options.onDropped?.(`too many events about ${event.regarding.kind} ${event.regarding.name}`);
      return false;
    }
    return this.#makeRoom();
  }

  /** The oldest entry that is written goes; where none is, the new event has no room. */
  #makeRoom(): boolean {
    if (this.#entries.size < MAX_ENTRIES) return true;
    for (const [key, entry] of this.#entries) {
      if (isDue(entry)) continue;
      this.#entries.delete(key);
      return true;
    }
    this.#options.onDropped?.(`${MAX_ENTRIES} events wait already`);
    return false;
  }

  async #write(key: string): Promise<undefined> {
    await this.#turn();
    const entry = this.#entries.get(key);
    if (entry === undefined || !isDue(entry)) return;
    const { count } = entry;
    const series = { count, lastObservedTime: microTime(entry.lastSeenWall) };
    entry.written =
      entry.written === undefined
        ? await this.#options.resources.create({ ...entry.event, ...(count > 1 && { series }) })
        : await this.#continueSeries(entry.written, entry.event, series);
    entry.writtenCount = count;
  }

  /** Resolves when the rate of all events together allows one more. */
  async #turn(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const waitMs = this.#total.take();
      if (waitMs === 0) return;
      await sleep(this.#clock, waitMs, signal);
    }
  }

  async #continueSeries(
    written: Stored<KubeEvent>,
    event: KubeEvent,
    series: NonNullable<KubeEvent['series']>,
  ): Promise<Stored<KubeEvent>> {
    const { resources } = this.#options;
    try {
      return await resources.patch(written.metadata, written.metadata.resourceVersion, { series });
    } catch (error) {
      // Events live for an hour or so on the server: the series goes on in a new one.
      if (!isNotFound(error)) throw error;
      return await resources.create({
        ...event,
        metadata: { ...event.metadata, name: this.#eventName(event.regarding.name) },
        series,
      });
    }
  }

  #failed(key: string, error: unknown): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const hopeless = error instanceof ApiError && error.code < 500 && !isTooManyRequests(error);
    if (!hopeless && this.#clock.monotonic() - entry.lastSeen < MAX_AGE_MS) return;
    this.#entries.delete(key);
    const why = isForbidden(error) ? 'forbidden' : error instanceof Error ? error.message : String(error);
    this.#options.onDropped?.(`an event could not be written: ${why}`);
  }

  /** Unique, and still a DNS name of at most 253 characters. */
  #eventName(name: string): string {
    const { random = Math.random } = this.#options;
    const part = () =>
      Math.floor(random() * 2 ** 32)
        .toString(16)
        .padStart(8, '0');
    return `${name.slice(0, 230)}.${part()}${part()}`;
  }

  #compose(regarding: KubeObject, text: EventText): KubeEvent {
    const { name, namespace } = regarding.metadata;
    return {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: this.#eventName(name), namespace: namespace ?? 'default' },
      eventTime: microTime(this.#clock.now()),
      type: text.type,
      reason: text.reason,
      action: text.action ?? text.reason,
      note: cutBytes(text.note, MAX_NOTE_BYTES),
      regarding: reference(regarding),
      ...(text.related !== undefined && { related: reference(text.related) }),
      reportingController: this.#options.reportingController,
      reportingInstance: this.#options.reportingInstance.slice(0, 128),
    };
  }
}

function isDue(entry: Entry): boolean {
  return entry.written === undefined || entry.count > entry.writtenCount;
}

function evictOldest(map: Map<string, unknown>, limit: number): void {
  for (const key of map.keys()) {
    if (map.size < limit) return;
    map.delete(key);
  }
}

function reference(object: KubeObject): Reference {
  const { name, namespace, uid } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
  };
}

function seriesKey(event: KubeEvent): string {
  const { regarding, related, type, reason, action, note } = event;
  const { kind, namespace, name, uid } = regarding;
  return JSON.stringify([kind, namespace, name, uid, type, reason, action, note, related?.uid]);
}

function cutBytes(text: string, limit: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= limit) return text;
  // A character that the cut goes through decodes to U+FFFD: it is left out.
  return `${bytes
    .subarray(0, limit - 3)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}
