import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inWords } from './duration.ts';

test.each([
  [0, '0 ms', 'under 1 s'],
  [21.4, '21 ms', 'under 1 s'],
  [999, '999 ms', 'under 1 s'],
  [1_000, '1.0 s', '1 s'],
  [4_250, '4.2 s', '4 s'],
  [9_990, '9.9 s', '9 s'],
  [12_700, '12 s', '12 s'],
  [60_000, '1 min', '1 min'],
  [200_400, '3 min 20 s', '3 min 20 s'],
  [3_600_000, '1 h', '1 h'],
  [7_530_000, '2 h 5 min', '2 h 5 min'],
  [90_000_000, '1 d 1 h', '1 d 1 h'],
])('%d ms are %s, or %s where the second is all that is known', (ms, exact, about) => {
  expect(inWords(ms)).toBe(exact);
  expect(inWords(ms, { exact: false })).toBe(about);
});

test('what is longer never reads as nothing, and is never cut in the middle of a unit', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), fc.boolean(), (ms, exact) => {
      expect(inWords(ms, { exact })).toMatch(
        /^(under 1 s|\d+ ms|\d\.\d s|\d+ (s|min|h|d)( \d+ (s|min|h))?)$/,
      );
    }),
  );
});
