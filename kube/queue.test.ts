import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type QueueResult, WorkQueue, type WorkQueueOptions } from './queue.ts';
import { ManualClock, settle } from './testing/manual-clock.ts';

/** Handlers that run until they are told to end. */
class Work {
  readonly runs: string[] = [];
  /** Keys that were handed out while their handler ran. */
  readonly twice: string[] = [];
  readonly signals = new Map<string, AbortSignal>();
  readonly #ends = new Map<string, PromiseWithResolvers<QueueResult>>();

  readonly handle = (key: string, signal: AbortSignal): Promise<QueueResult> => {
    if (this.#ends.has(key)) this.twice.push(key);
    this.runs.push(key);
    this.signals.set(key, signal);
    const end = Promise.withResolvers<QueueResult>();
    this.#ends.set(key, end);
    return end.promise;
  };

  get running(): string[] {
    return [...this.#ends.keys()];
  }

  async finish(key: string, result?: QueueResult): Promise<void> {
    this.#take(key)?.resolve(result);
    await settle();
  }

  async fail(key: string): Promise<void> {
    this.#take(key)?.reject(new Error('it failed'));
    await settle();
  }

  #take(key: string): PromiseWithResolvers<QueueResult> | undefined {
    const end = this.#ends.get(key);
    this.#ends.delete(key);
    return end;
  }
}

function setup(options: Partial<WorkQueueOptions> = {}) {
  const clock = new ManualClock();
  const work = new Work();
  const errors: { key: string; failures: number; retryInMs: number }[] = [];
  const queue = new WorkQueue({
    handle: work.handle,
    concurrency: 1,
    onError: (key, _, failures, retryInMs) => errors.push({ key, failures, retryInMs }),
    backoff: { baseMs: 100, maxMs: 1000 },
    clock,
    random: () => 1,
    ...options,
  });
  queue.start();
  return { clock, work, queue, errors };
}

describe('a work queue', () => {
  test('handles a key once however often it was added while it waited', async () => {
    const { work, queue } = setup();
    for (const key of ['busy', 'a', 'b', 'a', 'a']) queue.add(key);
    expect(queue.depth).toBe(2);
    await work.finish('busy');
    await work.finish('a');
    await work.finish('b');
    expect(work.runs).toEqual(['busy', 'a', 'b']);
  });

  test('handles a key again that was added while its handler ran', async () => {
    const { work, queue } = setup({ concurrency: 5 });
    queue.add('a');
    queue.add('a');
    queue.add('a');
    expect(work.runs).toEqual(['a']);
    await work.finish('a');
    expect(work.runs).toEqual(['a', 'a']);
    await work.finish('a');
    expect(work.running).toEqual([]);
  });

  test('runs as many handlers as it may, no more', () => {
    const { work, queue } = setup({ concurrency: 2 });
    for (const key of ['a', 'b', 'c']) queue.add(key);
    expect(work.running).toEqual(['a', 'b']);
  });

  test('backs off from a key that fails, further each time, and forgets it on success', async () => {
    const { work, queue, clock, errors } = setup();
    queue.add('a');
    for (const _ of [1, 2, 3, 4, 5, 6]) {
      await work.fail('a');
      expect(work.running).toEqual([]);
      await clock.advance(errors.at(-1)?.retryInMs ?? 0);
      expect(work.running).toEqual(['a']);
    }
    expect(errors.map((error) => error.retryInMs)).toEqual([100, 200, 400, 800, 1000, 1000]);
    await work.finish('a');
    queue.add('a');
    await work.fail('a');
    expect(errors.at(-1)).toEqual({ key: 'a', failures: 1, retryInMs: 100 });
  });

  test('asks again when a handler says when', async () => {
    const { work, queue, clock } = setup();
    queue.add('a');
    await work.finish('a', { requeueAfterMs: 500 });
    await clock.advance(499);
    expect(work.runs).toEqual(['a']);
    await clock.advance(1);
    expect(work.runs).toEqual(['a', 'a']);
  });

  test('keeps one wait per key, the earliest', async () => {
    const { work, queue, clock } = setup();
    queue.addAfter('a', 500);
    queue.addAfter('a', 200);
    queue.addAfter('a', 900);
    expect(clock.timers).toBe(1);
    await clock.advance(200);
    expect(work.runs).toEqual(['a']);
    await work.finish('a');
    await clock.advance(1000);
    expect(work.runs).toEqual(['a']);
  });

  test('tells of depth, waits and work', async () => {
    const seen: string[] = [];
    const { work, queue, clock } = setup({
      observer: {
        depth: (keys) => seen.push(`depth ${keys}`),
        waited: (ms) => seen.push(`waited ${ms}`),
        worked: (ms, failed) => seen.push(`worked ${ms} ${failed}`),
      },
    });
    queue.add('a');
    queue.add('b');
    await clock.advance(30);
    await work.finish('a');
    await clock.advance(5);
    await work.fail('b');
    expect(seen).toEqual([
      ...['depth 1', 'depth 0', 'waited 0', 'depth 1', 'worked 30 false'],
      ...['depth 0', 'waited 30', 'worked 5 true'],
    ]);
  });

  test('drains: handles what waits, drops what was for later, then takes nothing more', async () => {
    const { work, queue, clock } = setup();
    queue.add('a');
    queue.add('b');
    queue.addAfter('later', 100);
    let ended = false;
    const end = queue.shutdown({ drain: true }).then(() => {
      ended = true;
    });
    queue.add('too late');
    await work.finish('a');
    expect(ended).toBe(false);
    await work.finish('b', { requeueAfterMs: 10 });
    await end;
    expect(work.runs).toEqual(['a', 'b']);
    expect(clock.timers).toBe(0);
  });

  test('says what fails while it drains, and does not try it again', async () => {
    const { work, queue, clock, errors } = setup();
    queue.add('a');
    const end = queue.shutdown({ drain: true });
    await work.fail('a');
    await end;
    expect(errors).toEqual([{ key: 'a', failures: 1, retryInMs: Number.POSITIVE_INFINITY }]);
    expect(clock.timers).toBe(0);
  });

  test('without drain aborts handlers, drops what waits, and waits for them to end', async () => {
    const { work, queue } = setup();
    queue.add('a');
    queue.add('b');
    let ended = false;
    const end = queue.shutdown().then(() => {
      ended = true;
    });
    await settle();
    expect([work.signals.get('a')?.aborted, ended]).toEqual([true, false]);
    await work.fail('a');
    await end;
    expect(work.runs).toEqual(['a']);
  });

  test('loses patience while draining', async () => {
    const { work, queue, clock } = setup();
    queue.add('a');
    queue.add('b');
    const end = queue.shutdown({ drain: true, patienceMs: 1000 });
    await clock.advance(1000);
    expect(work.signals.get('a')?.aborted).toBe(true);
    await work.finish('a');
    await end;
    expect(work.runs).toEqual(['a']);
  });
});

type Step =
  | { readonly do: 'add' | 'addAfter' | 'finish' | 'fail'; readonly key: string; readonly ms: number }
  | { readonly do: 'advance'; readonly key: string; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom('add', 'add', 'addAfter', 'finish', 'finish', 'fail', 'advance'),
  key: fc.constantFrom('a', 'b', 'c', 'd'),
  ms: fc.integer({ min: 0, max: 400 }),
});

test('whatever happens, no key runs twice at once and none that was added is lost', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 60, size: 'max' }),
      async (concurrency, steps) => {
        const { clock, work, queue } = setup({ concurrency });
        /** Runs of each key that must still begin, since it was added after the last one did. */
        const owed = new Map<string, number>();
        const runsOf = (key: string) => work.runs.filter((run) => run === key).length;
        for (const { do: action, key, ms } of steps) {
          if (action === 'add' || action === 'addAfter') owed.set(key, runsOf(key));
          if (action === 'add') queue.add(key);
          else if (action === 'addAfter') queue.addAfter(key, ms);
          else if (action === 'finish') await work.finish(key);
          else if (action === 'fail') await work.fail(key);
          else await clock.advance(ms);
          if (action === 'add' && runsOf(key) > (owed.get(key) ?? 0)) owed.delete(key);
          expect(work.twice).toEqual([]);
          expect(work.running.length).toBeLessThanOrEqual(concurrency);
        }
        while (work.running.length > 0 || queue.depth > 0 || clock.timers > 0) {
          for (const key of work.running) await work.finish(key);
          await clock.advance(2000);
        }
        for (const [key, runs] of owed) expect(runsOf(key)).toBeGreaterThan(runs);
      },
    ),
    { numRuns: 100 },
  );
});
