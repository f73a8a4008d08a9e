import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FailedAttempt } from '../../crds/runner.ts';
import { runner } from '../../test/builders/runner.ts';
import { failuresOn, nextTryAt, retriesOf } from './retry.ts';

const AT = Date.parse('2026-01-01T00:00:00Z');

const failure = (attempt: number, hostName = 'h', at = AT): FailedAttempt => ({
  attempt,
  hostName,
  reason: 'CloneFailed',
  message: 'no room',
  finishedAt: new Date(at).toISOString(),
});
const avoidedBy = (...args: Parameters<typeof retriesOf>) => retriesOf(...args).avoided;
const failedOf = (...attempts: FailedAttempt[]) => runner({ status: { attempts } });

describe('a host on which a start has failed', () => {
  test.each([
    [1, 1_000],
    [2, 2_000],
    [3, 4_000],
    [6, 32_000],
    [7, 60_000],
    [20, 60_000],
  ])('rests after failure %d for %d ms', (failures, restMs) => {
    const failed = failedOf(...Array.from({ length: failures }, (_, index) => failure(index + 1)));
    expect(avoidedBy(failed, { wall: AT, monotonic: 500 }).get('h')).toBe(500 + restMs);
    expect(nextTryAt(failed)).toBe(AT + restMs);
  });

  test('rests for itself, from its own last failure', () => {
    const failed = failedOf(failure(1, 'a'), failure(2, 'b', AT + 5_000), failure(3, 'a', AT + 9_000));
    expect([...avoidedBy(failed, { wall: AT + 9_500, monotonic: 0 })]).toEqual([
      ['a', 1_500],
      ['b', 0],
    ]);
    expect(nextTryAt(failed)).toBe(AT + 6_000);
  });

  test('rests never longer than its due, however wrong its clock is', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -1e9, max: 1e9 }),
        fc.integer({ min: 1, max: 20 }),
        (skewMs, failures) => {
          const all = Array.from({ length: failures }, (_, index) => failure(index + 1, 'h', AT + skewMs));
          const until = avoidedBy(failedOf(...all), { wall: AT, monotonic: 0 }).get('h') ?? -1;
          expect(until).toBeGreaterThanOrEqual(0);
          expect(until).toBeLessThanOrEqual(60_000);
        },
      ),
    );
  });
});

describe('a failure that happened since the Runner was looked at', () => {
  const first = failedOf(failure(1, 'a', AT - 400));
  const seen = retriesOf(first, { wall: AT, monotonic: 0 });

  test.each([-3_600_000, 0, 3_600_000])('counts from now, whatever clock its host has: %d ms', (skewMs) => {
    const second = failedOf(failure(1, 'a', AT - 400), failure(2, 'b', AT + skewMs));
    const { avoided } = retriesOf(second, { wall: AT + 10_000, monotonic: 10_000 }, seen);
    expect([...avoided]).toEqual([
      ['a', 600],
      ['b', 11_000],
    ]);
  });

  test('is reckoned once', () => {
    expect(retriesOf(first, { wall: AT + 1e9, monotonic: 1e9 }, seen)).toBe(seen);
  });
});

test('so many failures that the first are forgotten keep the Runner from any host for a minute', () => {
  const all = Array.from({ length: 20 }, (_, index) => failure(index + 1, `h${index}`));
  const avoided = avoidedBy(failedOf(...all), { wall: AT, monotonic: 0 });
  expect(failuresOn(avoided, 'never-tried', 59_999)).toBe('rests');
  expect(failuresOn(avoided, 'h3', 59_999)).toBe('rests');
  expect(failuresOn(avoided, 'never-tried', 60_000)).toBe('none');
  expect(failuresOn(avoided, 'h3', 60_000)).toBe('known');
  expect(nextTryAt(failedOf(...all))).toBe(AT + 60_000);
});

test('a Runner without a failure avoids nothing', () => {
  expect(avoidedBy(runner(), { wall: AT, monotonic: 0 }).size).toBe(0);
  expect(nextTryAt(runner())).toBeUndefined();
});
