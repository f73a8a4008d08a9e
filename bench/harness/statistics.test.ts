import { expect, test } from 'vitest';
import { median, summarize } from './statistics.ts';

test('percentiles are ranks of the measured values', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(summarize(hundred)).toEqual({ n: 100, min: 1, p50: 50.5, p95: 95, p99: 99, max: 100 });
  expect(summarize([7])).toEqual({ n: 1, min: 7, p50: 7, p95: 7, p99: 7, max: 7 });
});

test('a median is the middle, or the mean of the two middle ones', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});

test('no values make no figure', () => {
  expect(() => summarize([])).toThrow('nothing to summarize');
});
