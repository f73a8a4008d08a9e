import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import { ManualClock } from '../../kube/testing/manual-clock.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { OverSince } from './over-since.ts';
import { decideTtl } from './ttl.ts';

describe('a Runner with ttlSecondsAfterFinished', () => {
  const over = (ttl: number | undefined, overrides: Overrides<Runner> = {}) =>
    runner({ ...overrides, spec: { ttlSecondsAfterFinished: ttl }, status: { phase: 'Finished' } });
  const dying = { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } };

  test.each<[string, Runner, number | undefined, ReturnType<typeof decideTtl>]>([
    ['is kept while it is not over', runner({ spec: { ttlSecondsAfterFinished: 0 } }), undefined, {}],
    ['is kept without one', over(undefined), 1e12, {}],
    ['is left alone once it is deleted', over(0, dying), 1e12, {}],
    ['of 0 goes at once', over(0), 0, { delete: true }],
    ['is looked at again when it is due', over(60), 12_345, { requeueAfterMs: 47_655 }],
    ['goes when it is due', over(60), 60_000, { delete: true }],
    ['goes when it is overdue', over(60), 1e12, { delete: true }],
  ])('%s', (_, object, overForMs, decision) => {
    expect(decideTtl(object, overForMs)).toEqual(decision);
  });

  test('goes neither early nor late, whatever it is', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0, max: 2 ** 42, noNaN: true }), (ttl, overForMs) => {
        const leftMs = ttl * 1000 - overForMs;
        const decision = decideTtl(over(ttl), overForMs);
        expect(decision).toEqual(leftMs > 0 ? { requeueAfterMs: leftMs } : { delete: true });
      }),
    );
  });
});

describe('since when a Runner is over', () => {
  const HOUR_MS = 3_600_000;
  const NOW = Date.parse('2026-01-01T12:00:00Z');
  const at = (ms: number) => new Date(NOW + ms).toISOString();
  const life = (phase: 'Running' | 'Finished' | 'Error', finishedAt?: string) =>
    stored(
      runner({
        metadata: { name: 'r', uid: 'uid-r', creationTimestamp: at(-10 * HOUR_MS) },
        status: { phase, finishedAt },
      }),
    );

  test('is unknown while it is not', () => {
    expect(new OverSince(new ManualClock(NOW)).observe(life('Running', at(-HOUR_MS)))).toBeUndefined();
  });

  // Its host's wall clock may be anything: an end that was seen is believed of nobody else.
  test.each([at(-9 * HOUR_MS), at(0), at(5 * HOUR_MS), undefined])(
    'is when it was seen to end, whatever its host wrote: %s',
    async (finishedAt) => {
      const clock = new ManualClock(NOW);
      const since = new OverSince(clock);
      since.observe(life('Running'));
      await clock.advance(60_000);
      expect(since.observe(life('Error', finishedAt))).toBe(0);
      clock.jump(24 * HOUR_MS);
      await clock.advance(5_000);
      expect(since.observe(life('Error', finishedAt))).toBe(5_000);
    },
  );

  test.each<[string, string | undefined, number]>([
    ['what its host wrote', at(-2 * HOUR_MS), 2 * HOUR_MS],
    ['no earlier than its creation', at(-100 * HOUR_MS), 10 * HOUR_MS],
    ['now, where the host wrote a time to come', at(HOUR_MS), 0],
    ['now, where nobody wrote a time', undefined, 0],
    ['now, where what was written is no time', 'yesterday', 0],
  ])('is, of an end that nobody here saw, %s', async (_, finishedAt, overForMs) => {
    const clock = new ManualClock(NOW);
    const since = new OverSince(clock);
    expect(since.observe(life('Finished', finishedAt))).toBe(overForMs);
    clock.jump(-24 * HOUR_MS);
    await clock.advance(5_000);
    expect(since.observe(life('Finished', finishedAt))).toBe(overForMs + 5_000);
  });

  test('is forgotten with the Runner', () => {
    const since = new OverSince(new ManualClock(NOW));
    since.observe(life('Running'));
    since.forget('uid-r');
    expect(since.observe(life('Finished', at(-HOUR_MS)))).toBe(HOUR_MS);
  });
});
