import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type DiskRoom, judgeRoom } from './disk-room.ts';

const GIB = 2 ** 30;
const low: DiskRoom = { enough: false, neededBytes: 4 * GIB };
const fine: DiskRoom = { enough: true, neededBytes: 4 * GIB };

test.each([
  ['at first, with room', 500, 2, undefined, true],
  ['at first, without', 500, 1.9, undefined, false],
  ['falling', 500, 3, fine, true],
  ['fallen', 500, 1.9, fine, false],
  ['rising, still low', 500, 3.9, low, false],
  ['risen', 500, 4, low, true],
  ['a small volume', 10, 0.6, undefined, true],
  ['a small volume, low', 10, 0.4, undefined, false],
])('%s', (_, totalGib, freeGib, before, enough) => {
  expect(judgeRoom({ totalBytes: totalGib * GIB, freeBytes: freeGib * GIB }, before).enough).toBe(enough);
});

test('a room that moves less than the gap changes the verdict at most once', () => {
  const totalBytes = 500 * GIB;
  fc.assert(
    fc.property(fc.array(fc.double({ min: 2.01, max: 3.99, noNaN: true })), fc.boolean(), (frees, start) => {
      let verdict = start ? fine : low;
      for (const free of frees) {
        verdict = judgeRoom({ totalBytes, freeBytes: free * GIB }, verdict);
        expect(verdict.enough).toBe(start);
      }
    }),
  );
});
