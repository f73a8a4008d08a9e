import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyMergePatch, jsonEqual, mergePatch } from './merge-patch.ts';

const { object } = fc.letrec<{ value: unknown; object: Record<string, unknown> }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(0, 1, 'a', '', true, false),
    tie('object'),
    fc.array(tie('value'), { maxLength: 3 }),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__', 'toString'), tie('value'), {
    maxKeys: 4,
  }),
}));

describe('a merge patch', () => {
  test('turns one object into the other', () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        expect(jsonEqual(applyMergePatch(from, mergePatch(from, to) ?? {}), to)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('does so after the trip through JSON, too', () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        const patch: unknown = JSON.parse(JSON.stringify(mergePatch(from, to) ?? {}));
        expect(jsonEqual(applyMergePatch(from, patch), to)).toBe(true);
      }),
    );
  });

  test('is undefined exactly where the objects are equal', () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        expect(mergePatch(from, to) === undefined).toBe(jsonEqual(from, to));
        expect(mergePatch(from, structuredClone(from))).toBeUndefined();
      }),
    );
  });

  test('changes neither argument', () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        const before = JSON.stringify([from, to]);
        applyMergePatch(from, mergePatch(from, to) ?? {});
        expect(JSON.stringify([from, to])).toBe(before);
      }),
    );
  });

  test.each([
    { name: 'removes with null', from: { a: 1, b: 2 }, to: { b: 2 }, patch: { a: null } },
    { name: 'replaces arrays whole', from: { a: [1, 2] }, to: { a: [1] }, patch: { a: [1] } },
    {
      name: 'goes into objects',
      from: { a: { b: 1, c: 1 } },
      to: { a: { c: 1 } },
      patch: { a: { b: null } },
    },
    { name: 'sets an empty object', from: {}, to: { a: {} }, patch: { a: {} } },
    { name: 'replaces an array by an object', from: { a: [1] }, to: { a: { b: 1 } }, patch: { a: { b: 1 } } },
    { name: 'takes undefined for absent', from: { a: 1 }, to: { a: undefined }, patch: { a: null } },
    { name: 'takes null for absent', from: { a: 1 }, to: { a: 1, b: null }, patch: undefined },
    {
      name: 'leaves nulls out of what it sets',
      from: {},
      to: { a: { b: null, c: 1 } },
      patch: { a: { c: 1 } },
    },
  ])('$name', ({ from, to, patch }) => {
    expect(mergePatch(from, to)).toEqual(patch);
  });
});

test.each([
  ['objects in another order', { a: 1, b: 2 }, { b: 2, a: 1 }, true],
  ['an absent and an undefined member', { a: 1 }, { a: 1, b: undefined }, true],
  ['arrays in another order', [1, 2], [2, 1], false],
  ['an array and an object', [], {}, false],
  ['a number and its text', 1, '1', false],
])('equality of JSON: %s', (_, a, b, expected) => {
  expect(jsonEqual(a, b)).toBe(expected);
});
