import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Allocatable, type Claim, shortage, type WaitingClaim } from './capacity.ts';

const MiB = 2 ** 20;
const TOTAL: Allocatable = { runners: 3, cpu: 4, memoryBytes: 8 * MiB, diskBytes: 100 * MiB };

function claim(uid: string, more: Partial<WaitingClaim> & { cpu?: number; memoryBytes?: number } = {}) {
  const { cpu = 1, memoryBytes = 2 * MiB, ...rest } = more;
  return {
    uid,
    attempt: 1,
    resources: { cpu, memoryBytes, diskBytes: 10 * MiB },
    isMacOS: false,
    createdAt: '2026-01-01T00:00:00Z',
    ...rest,
  } satisfies WaitingClaim;
}

const short = (begun: Claim[], own: WaitingClaim, others: WaitingClaim[] = []) =>
  shortage(TOTAL, begun, others, own);

describe('an attempt', () => {
  test.each<[string, Claim[], WaitingClaim, string | undefined]>([
    ['fits on an empty host', [], claim('a'), undefined],
    ['fits where just enough is left', [claim('x', { cpu: 3 })], claim('a'), undefined],
    [
      'does not fit beside as many as there may be',
      ['x', 'y', 'z'].map((uid) => claim(uid)),
      claim('a'),
      'the host takes 3 Runners at once, and has 3',
    ],
    ['lacks CPUs', [claim('x', { cpu: 3 })], claim('a', { cpu: 2 }), 'CPUs: 2 are wanted, 1 are left'],
    [
      'lacks memory, on a host that holds more than it should',
      [claim('x', { memoryBytes: 9 * MiB })],
      claim('a'),
      'memory: 2Mi are wanted, 0 are left',
    ],
    [
      'of macOS is not the third, whatever the others are',
      [claim('x', { isMacOS: true }), claim('y', { isMacOS: undefined })],
      claim('a', { isMacOS: true }),
      'the host has 2 macOS guests: more are not allowed on one Mac',
    ],
    [
      'of Linux fits beside two of macOS',
      [claim('x', { isMacOS: true }), claim('y', { isMacOS: true })],
      claim('a'),
      undefined,
    ],
  ])('%s', (_, begun, own, why) => {
    expect(short(begun, own)).toBe(why);
  });

  test('comes after older ones that wait, and before younger ones', () => {
    const old = claim('old', { cpu: 4, createdAt: '2026-01-01T00:00:00Z' });
    const young = claim('young', { createdAt: '2026-01-01T00:00:01Z' });
    expect(short([], old, [young])).toBeUndefined();
    expect(short([], young, [old])).toBe('CPUs: 1 are wanted, 0 are left');
  });

  test('is not kept out by an older one that does not fit itself', () => {
    const huge = claim('a', { cpu: 9 });
    expect(short([], claim('b'), [huge])).toBeUndefined();
  });
});

describe('however many wait, in whatever order they are asked', () => {
  const arbitraryClaim = fc.record({
    cpu: fc.integer({ min: 1, max: 3 }),
    memoryBytes: fc.integer({ min: 1, max: 4 * MiB }),
    second: fc.nat(3),
    isMacOS: fc.constantFrom(true, false, undefined),
  });

  test('those that are told to fit do fit, together with what has begun', () => {
    fc.assert(
      fc.property(fc.array(arbitraryClaim, { maxLength: 8 }), fc.nat(3), (each, begunCount) => {
        const all = each.map(({ second, ...more }, index) =>
          claim(`u${index}`, { ...more, createdAt: `2026-01-01T00:00:0${second}Z` }),
        );
        const begun = all.slice(0, begunCount);
        const waiting = all.slice(begunCount);
        const fitting = waiting.filter(
          (own) =>
            short(
              begun,
              own,
              waiting.filter((other) => other !== own),
            ) === undefined,
        );
        const taken: Claim[] = [...begun];
        for (const own of fitting) {
          expect(short(taken, own)).toBeUndefined();
          taken.push(own);
        }
      }),
    );
  });
});
