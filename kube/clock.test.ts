import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { backoffMs } from './backoff.ts';
import { sleep, systemClock } from './clock.ts';
import { ManualClock, settle } from './testing/manual-clock.ts';
import { TokenBucket } from './token-bucket.ts';

afterEach(() => {
  vi.useRealTimers();
});

describe('the system clock', () => {
  test("keeps delays that are longer than Node's timers take", () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const rung = vi.fn();
    systemClock.setTimeout(rung, 2 ** 31 + 5_000);
    vi.advanceTimersByTime(2 ** 31);
    expect(rung).not.toHaveBeenCalled();
    vi.advanceTimersByTime(5_000);
    expect(rung).toHaveBeenCalledOnce();
  });

  test('calls nobody back whose timer was cancelled', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const rung = vi.fn();
    const timer = systemClock.setTimeout(rung, 2 ** 31 + 5_000);
    vi.advanceTimersByTime(2 ** 31);
    timer.cancel();
    timer.cancel();
    vi.advanceTimersByTime(10_000);
    expect(rung).not.toHaveBeenCalled();
  });
});

describe('sleeping', () => {
  test('ends in time, or early, and leaves nothing behind', async () => {
    const clock = new ManualClock();
    const stop = new AbortController();
    const woken: string[] = [];
    void sleep(clock, 100, stop.signal).then(() => woken.push('in time'));
    void sleep(clock, 200, stop.signal).then(() => woken.push('early'));
    await clock.advance(100);
    expect(woken).toEqual(['in time']);
    stop.abort();
    await settle();
    expect(woken).toEqual(['in time', 'early']);
    void sleep(clock, 300, stop.signal).then(() => woken.push('at once'));
    await settle();
    expect([woken.at(-1), clock.timers]).toEqual(['at once', 0]);
  });
});

test('a back-off doubles up to its limit, and is at least half of that', () => {
  const options = { baseMs: 100, maxMs: 5_000 };
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, chance) => {
        const full = Math.min(5_000, 100 * 2 ** (failures - 1));
        const delay = backoffMs(failures, options, () => chance);
        expect(delay).toBeGreaterThanOrEqual(full / 2);
        expect(delay).toBeLessThanOrEqual(full);
      },
    ),
  );
});

test('a token bucket allows a burst, then its rate, whatever the pauses', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 100 }), async (pauses) => {
      const clock = new ManualClock();
      const bucket = new TokenBucket({ capacity: 5, perSecond: 2, clock });
      let taken = 0;
      for (const pause of pauses) {
        await clock.advance(pause);
        const waitMs = bucket.take();
        if (waitMs === 0) taken += 1;
        else {
          await clock.advance(waitMs);
          expect(bucket.take()).toBe(0);
          taken += 1;
        }
        expect(taken).toBeLessThanOrEqual(5 + (clock.monotonic() / 1_000) * 2);
      }
    }),
  );
});
