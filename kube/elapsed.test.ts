import { describe, expect, test } from 'vitest';
import { Elapsed } from './elapsed.ts';
import { ManualClock } from './testing/manual-clock.ts';

const DAY_MS = 86_400_000;

describe('time since a moment of the wall clock', () => {
  test('begins with what the wall clock says, and is never negative', () => {
    const clock = new ManualClock();
    expect(new Elapsed(clock).since(clock.now() - 5_000)).toBe(5_000);
    expect(new Elapsed(clock).since(clock.now() + 5_000)).toBe(0);
  });

  test.each([DAY_MS, -DAY_MS])('goes on as it did when the wall clock is set by %d ms', async (jump) => {
    const clock = new ManualClock();
    const elapsed = new Elapsed(clock);
    const moment = clock.now() - 1_000;
    expect(elapsed.since(moment, 'a')).toBe(1_000);
    clock.jump(jump);
    await clock.advance(500);
    expect(elapsed.since(moment, 'a')).toBe(1_500);
  });

  test('of two that happened at once is kept apart by their keys, until one is forgotten', async () => {
    const clock = new ManualClock();
    const elapsed = new Elapsed(clock);
    const moment = clock.now();
    elapsed.since(moment, 'a');
    elapsed.since(moment, 'b');
    clock.jump(DAY_MS);
    elapsed.forget('a');
    expect(elapsed.since(moment, 'a')).toBe(DAY_MS);
    expect(elapsed.since(moment, 'b')).toBe(0);
  });
});
