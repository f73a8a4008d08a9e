import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Condition, getCondition, isTrue, removeCondition, setCondition } from './conditions.ts';

const T0 = '2026-01-01T00:00:00Z';
const T1 = '2026-01-01T00:01:00Z';
const ready = { type: 'Ready', status: 'False', reason: 'Booting', message: 'the VM boots' } as const;

describe('setting a condition', () => {
  test('adds it with the time', () => {
    expect(setCondition(undefined, ready, T0)).toEqual([{ ...ready, lastTransitionTime: T0 }]);
  });

  test('moves the time only when the status changes', () => {
    const first = setCondition([], ready, T0);
    const other = setCondition(first, { ...ready, message: 'it still boots' }, T1);
    expect(other).toEqual([{ ...ready, message: 'it still boots', lastTransitionTime: T0 }]);
    const flipped = setCondition(other, { ...ready, status: 'True' }, T1);
    expect(getCondition(flipped, 'Ready')?.lastTransitionTime).toBe(T1);
  });

  test('returns the same array where nothing changes', () => {
    const first = setCondition([], { ...ready, observedGeneration: 3 }, T0);
    expect(setCondition(first, { ...ready, observedGeneration: 3 }, T1)).toBe(first);
    expect(setCondition(first, { ...ready, observedGeneration: 4 }, T1)).not.toBe(first);
  });

  test('leaves others alone, and its argument too', () => {
    const type = fc.constantFrom('A', 'B', 'C');
    const status = fc.constantFrom<Condition['status']>('True', 'False', 'Unknown');
    const next = fc.record({ type, status, reason: fc.constantFrom('x', 'y'), message: fc.constant('m') });
    fc.assert(
      fc.property(fc.array(next, { maxLength: 12 }), (steps) => {
        let conditions: Condition[] = [];
        const expected = new Map<string, Condition>();
        for (const [index, set] of steps.entries()) {
          const nowIso = new Date(index * 1000).toISOString();
          const before = structuredClone(conditions);
          const after = setCondition(conditions, set, nowIso);
          expect(conditions).toEqual(before);
          const old = expected.get(set.type);
          const lastTransitionTime = old?.status === set.status ? old.lastTransitionTime : nowIso;
          expected.set(set.type, { ...set, lastTransitionTime });
          conditions = after;
          expect(conditions).toEqual([...expected.values()]);
        }
      }),
    );
  });
});

test('removing a condition that is not there returns the same array', () => {
  const conditions = setCondition([], ready, T0);
  expect(removeCondition(conditions, 'Bound')).toBe(conditions);
  expect(removeCondition(conditions, 'Ready')).toEqual([]);
});

test('a condition is true only when it says so', () => {
  expect(isTrue(setCondition([], ready, T0), 'Ready')).toBe(false);
  expect(isTrue(setCondition([], { ...ready, status: 'True' }, T0), 'Ready')).toBe(true);
  expect(isTrue(undefined, 'Ready')).toBe(false);
});
