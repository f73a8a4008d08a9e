import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareResourceVersions } from './resource-version.ts';

test('resourceVersions compare as numbers of any size', () => {
  const number = fc.bigInt({ min: 0n, max: 2n ** 70n });
  fc.assert(
    fc.property(number, number, (a, b) => {
      const order = compareResourceVersions(String(a), String(b));
      expect(Math.sign(order ?? Number.NaN)).toBe(a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});

test.each(['', 'abc', '012', '-1', '1.0', ' 1'])('nothing follows from %j', (odd) => {
  expect(compareResourceVersions(odd, '1')).toBeUndefined();
  expect(compareResourceVersions('1', odd)).toBeUndefined();
});
