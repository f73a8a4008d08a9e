import { describe, expect, test } from 'vitest';
import { ApiError, ApiUnreachable } from './errors.ts';
import { EventRecorder, type KubeEvent } from './events.ts';
import type { Stored } from './object.ts';
import { ManualClock, settle } from './testing/manual-clock.ts';

const runner = {
  apiVersion: 'test.dev/v1',
  kind: 'Runner',
  metadata: { name: 'r1', namespace: 'ci', uid: 'u1' },
};
const bound = { type: 'Normal', reason: 'Bound', note: 'bound to host-1' } as const;

/** Events as the API server keeps them, and the ways in which it may fail. */
class EventServer {
  readonly events = new Map<string, Stored<KubeEvent>>();
  writes = 0;
  failure: Error | undefined;
  stuck: Promise<void> | undefined;
  #revision = 0;

  readonly resources = {
    create: async (event: KubeEvent): Promise<Stored<KubeEvent>> => {
      await this.#arrive();
      return this.#put(event);
    },
    patch: async (ref: { name: string }, _: string, patch: object): Promise<Stored<KubeEvent>> => {
      await this.#arrive();
      const old = this.events.get(ref.name);
      if (old === undefined) throw new ApiError(404, 'NotFound', 'gone', { name: ref.name });
      return this.#put({ ...old, ...patch });
    },
  };

  get all(): Stored<KubeEvent>[] {
    return [...this.events.values()];
  }

  async #arrive(): Promise<void> {
    await this.stuck;
    this.writes += 1;
    if (this.failure !== undefined) throw this.failure;
  }

  #put(event: KubeEvent): Stored<KubeEvent> {
    this.#revision += 1;
    const metadata = { creationTimestamp: '', uid: event.metadata.name, ...event.metadata };
    const stored = { ...event, metadata: { ...metadata, resourceVersion: String(this.#revision) } };
    this.events.set(event.metadata.name, stored);
    return stored;
  }
}

function setup() {
  const clock = new ManualClock();
  const server = new EventServer();
  const dropped: string[] = [];
  const recorder = new EventRecorder({
    resources: server.resources,
    reportingController: 'test.dev/controller',
    reportingInstance: 'host-1',
    onDropped: (why) => dropped.push(why),
    clock,
  });
  return { clock, server, dropped, recorder };
}

describe('recording events', () => {
  test('writes what the API asks for', async () => {
    const { server, recorder } = setup();
    recorder.record(runner, bound);
    await settle();
    expect(server.all).toEqual([
      expect.objectContaining({
        metadata: expect.objectContaining({
          namespace: 'ci',
          name: expect.stringMatching(/^r1\.[0-9a-f]{16}$/),
        }),
        eventTime: '2026-01-01T00:00:00.000000Z',
        type: 'Normal',
        reason: 'Bound',
        action: 'Bound',
        note: 'bound to host-1',
        regarding: { apiVersion: 'test.dev/v1', kind: 'Runner', namespace: 'ci', name: 'r1', uid: 'u1' },
        reportingController: 'test.dev/controller',
        reportingInstance: 'host-1',
      }),
    ]);
    expect(server.all[0]).not.toHaveProperty('series');
  });

  test('puts those about cluster-scoped objects into the namespace default', async () => {
    const { server, recorder } = setup();
    recorder.record({ ...runner, metadata: { name: 'host-1', uid: 'h' } }, bound);
    await settle();
    expect(server.all[0]?.metadata.namespace).toBe('default');
  });

  test('counts what repeats, with one write a minute', async () => {
    const { clock, server, recorder } = setup();
    for (let second = 0; second < 180; second += 1) {
      recorder.record(runner, bound);
      await clock.advance(1_000);
    }
    await clock.advance(60_000);
    expect(server.writes).toBeLessThanOrEqual(5);
    expect(server.all.map((event) => event.series)).toEqual([
      { count: 180, lastObservedTime: '2026-01-01T00:02:59.000000Z' },
    ]);
    const { writes } = server;
    await clock.advance(3_600_000);
    expect(server.writes).toBe(writes);
  });

  test('begins anew after six quiet minutes, and for another note', async () => {
    const { clock, server, recorder } = setup();
    recorder.record(runner, bound);
    await clock.advance(361_000);
    recorder.record(runner, bound);
    recorder.record(runner, { ...bound, note: 'bound to host-2' });
    await settle();
    expect(server.events.size).toBe(3);
  });

  test('goes on in a new event where the server has forgotten the old one', async () => {
    const { clock, server, recorder } = setup();
    recorder.record(runner, bound);
    await clock.advance(1_000);
    server.events.clear();
    recorder.record(runner, bound);
    await clock.advance(60_000);
    expect(server.all.map((event) => event.series?.count)).toEqual([2]);
  });

  test('keeps what the API server could not be given until it can', async () => {
    const { clock, server, recorder, dropped } = setup();
    server.failure = new ApiUnreachable('https://api', 'Refused', 'connection refused');
    recorder.record(runner, bound);
    await clock.advance(120_000);
    server.failure = undefined;
    await clock.advance(60_000);
    expect([server.events.size, dropped]).toEqual([1, []]);
  });

  test('drops what is refused, and says so once', async () => {
    const { clock, server, recorder, dropped } = setup();
    server.failure = new ApiError(403, 'Forbidden', 'events is forbidden');
    recorder.record(runner, bound);
    await clock.advance(3_600_000);
    expect([server.writes, dropped]).toEqual([1, ['an event could not be written: forbidden']]);
  });

  test('lets no object flood the server', async () => {
    const { clock, server, recorder, dropped } = setup();
    for (let index = 0; index < 100; index += 1) recorder.record(runner, { ...bound, note: `try ${index}` });
    await clock.advance(30_000);
    expect([server.events.size, dropped.length]).toEqual([25, 75]);
  });

  test('holds a bounded number, and writes them at a bounded rate', async () => {
    const { clock, server, recorder, dropped } = setup();
    for (let index = 0; index < 3_000; index += 1) {
      recorder.record({ ...runner, metadata: { ...runner.metadata, uid: `u${index}` } }, bound);
    }
    expect(dropped.length).toBe(1_000);
    await clock.advance(10_000);
    expect(server.writes).toBeLessThanOrEqual(155);
    await clock.advance(600_000);
    expect(server.events.size).toBe(2_000);
  });

  test('cuts long notes between characters', async () => {
    const { server, recorder } = setup();
    recorder.record(runner, { ...bound, note: '仮'.repeat(1_000) });
    await settle();
    expect(server.all[0]?.note).toBe(`${'仮'.repeat(340)}…`);
  });

  test('flushes on stop, in time', async () => {
    const { clock, server, recorder } = setup();
    for (let index = 0; index < 60; index += 1) {
      recorder.record({ ...runner, metadata: { ...runner.metadata, uid: `u${index}` } }, bound);
    }
    await recorder.stop({ deadlineMs: 1_000 });
    recorder.record(runner, { ...bound, note: 'too late' });
    expect(server.events.size).toBe(60);
    expect(clock.timers).toBe(0);
  });

  test('gives up a flush that hangs', async () => {
    const { clock, server, recorder, dropped } = setup();
    const hung = Promise.withResolvers<void>();
    server.stuck = hung.promise;
    recorder.record(runner, bound);
    const stopped = recorder.stop({ deadlineMs: 1_000 });
    await clock.advance(1_000);
    await stopped;
    expect(dropped).toEqual(['1 events could not be written before the end']);
    hung.resolve();
  });
});
