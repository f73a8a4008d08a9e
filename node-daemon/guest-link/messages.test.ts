import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseReport, parseStatus } from './messages.ts';

const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
const state = fc.constantFrom('NoRunner', 'Starting', 'Idle', 'Running', 'Finished');
const line = fc.string({ unit: 'grapheme-ascii', maxLength: 60 });
const report = fc.record(
  {
    mac,
    ip: fc.oneof(fc.ipV4(), fc.ipV6()),
    event: fc.constantFrom('Ready', 'State'),
    state,
    runnerName: line,
  },
  { requiredKeys: ['mac', 'ip', 'event', 'state'] },
);
const status = fc.record({
  version: line,
  hostname: line,
  uid: line,
  attempt: fc.nat(),
  bootId: line,
  uptimeSeconds: fc.double({ min: 0, max: 1e9, noNaN: true }),
  mac,
  ip: fc.ipV4(),
  state,
});

describe('any report and any status', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(report, (value) => {
        expect(parseReport(JSON.stringify(value))).toEqual(value);
      }),
    );
    fc.assert(
      fc.property(status, (value) => {
        const text = JSON.stringify(value);
        expect(parseStatus(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  test('is refused where a member is missing or of another type', () => {
    const breakOne = (value: object, key: string, bad: unknown): string =>
      JSON.stringify({ ...value, [key]: bad });
    const bad = fc.constantFrom<unknown[]>(undefined, null, {}, [], true, 'x'.repeat(300));
    fc.assert(
      fc.property(report, fc.constantFrom('mac', 'ip', 'event', 'state'), bad, (value, key, wrong) => {
        expect(parseReport(breakOne(value, key, wrong))).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(
        status,
        fc.constantFrom('uid', 'attempt', 'bootId', 'mac', 'state'),
        bad,
        (value, key, wrong) => {
          expect(parseStatus(breakOne(value, key, wrong))).toBeUndefined();
        },
      ),
    );
  });
});

test('whatever comes in, nothing is thrown and nothing but members of the protocol gets out', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => {
      expect(parseReport(text)).toBeUndefined();
      expect(parseStatus(text)).toBeUndefined();
    }),
  );
  const text =
    '{"mac":"52:54:00:00:00:01","ip":"::1","event":"Ready","state":"Idle","__proto__":{"x":1},"more":2}';
  expect(Object.keys(parseReport(text) ?? {})).toEqual(['mac', 'ip', 'event', 'state']);
});
