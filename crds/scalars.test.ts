import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { arbitraryOf } from '../test/builders/arbitrary.ts';
import {
  bytesQuantity,
  Digest,
  DnsName,
  Duration,
  durationMs,
  HostName,
  HostObjectName,
  LabelSelector,
  Quantity,
  quantityBytes,
  Reserve,
  SecretKey,
  Size,
  UserName,
} from './scalars.ts';

const verdicts: [name: string, schema: z.ZodType, good: unknown[], bad: unknown[]][] = [
  [
    'DnsName',
    DnsName,
    ['a', '0', 'linux', 'macos-26', 'a.b-c.d', 'a'.repeat(253)],
    ['', 'A', 'a_b', '-a', 'a-', 'a..b', '.', '..', '../a', 'a/b', 'a b', 'a\n', 'a'.repeat(254)],
  ],
  [
    'HostName',
    HostName,
    ['a', 'runner-1', 'a'.repeat(63)],
    ['', 'a.b', 'Runner', 'rUn', '-a', 'a-', 'a'.repeat(64)],
  ],
  ['HostObjectName', HostObjectName, ['mini-1', 'a.b', 'a'.repeat(52)], ['', 'Mini', 'a'.repeat(53)]],
  [
    'UserName',
    UserName,
    ['runner', '_www', 'Admin', 'a.b-c_1'],
    ['', '-oProxyCommand', '1a', 'a b', 'a:b', 'a$(b)'],
  ],
  ['SecretKey', SecretKey, ['setup.sh', '.x', 'A_b-1'], ['', 'a/b', 'a b', 'a'.repeat(254)]],
  [
    'Digest',
    Digest,
    [`sha256:${'0a'.repeat(32)}`],
    ['', 'sha256:', `sha256:${'0A'.repeat(32)}`, `sha256:${'0'.repeat(63)}`, '0'.repeat(64)],
  ],
  [
    'Duration',
    Duration,
    ['1ms', '90s', '5m', '1h30m', '0h1s', '168h', '604800s'],
    [
      '',
      '0s',
      '0h0m',
      '5',
      'm',
      '-5m',
      '1.5h',
      '5 m',
      '1d',
      '5M',
      '169h',
      '168h1ms',
      '9999999s',
      '1s'.repeat(11),
    ],
  ],
  [
    'Quantity',
    Quantity,
    ['0', '1', '512Mi', '1.5Gi', '20G', '1k', '3T', '1073741824'],
    ['', '-1', '1.', '.5', '8GB', '8gi', '8 Gi', '1e3', '1m', '1Pi', '1K', '0x10'],
  ],
  [
    'Size',
    Size,
    ['16Mi', '0.5Gi', '8Gi', '20G', '16777216', '1024Ti'],
    ['', '0', '8', '1.5', '15Mi', '16M', '0Gi', '8GB', '1025Ti', '9'.repeat(32)],
  ],
  [
    'Reserve',
    Reserve,
    ['0', '0Gi', '0.0', '16Mi', '2Gi', '1024Ti'],
    ['', '1', '4', '0.4', '15Mi', '10%', '-2Gi', '2GB', '1025Ti'],
  ],
  [
    'LabelSelector',
    LabelSelector,
    [{}, { pool: 'ios' }, { 'example.com/pool': '' }, { a: 'X_y.z-1' }],
    [
      { '': 'a' },
      { 'a b': 'a' },
      { '/a': 'a' },
      { 'a/b/c': 'a' },
      { 'UPPER/a': 'a' },
      { a: 'b c' },
      { a: '-b' },
      { a: 'b'.repeat(64) },
      { ['a'.repeat(64)]: 'b' },
      { a: 1 },
      Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, 'v'])),
    ],
  ],
];

describe.each(verdicts)('%s', (_, schema, good, bad) => {
  test.each(good)('accepts %j', (value) => {
    expect(schema.safeParse(value).success).toBe(true);
  });

  test.each(bad)('refuses %j', (value) => {
    expect(schema.safeParse(value).success).toBe(false);
  });
});

test.each([
  ['1ms', 1],
  ['90s', 90_000],
  ['5m', 300_000],
  ['1h30m', 5_400_000],
  ['30m1h', 5_400_000],
  ['1s1s', 2_000],
])('%s are %d ms', (text, milliseconds) => {
  expect(durationMs(text)).toBe(milliseconds);
});

test.each([
  ['0', 0],
  ['1', 1],
  ['1.5', 2],
  ['1k', 1000],
  ['1Ki', 1024],
  ['1.5Gi', 1_610_612_736],
  ['20G', 20_000_000_000],
  ['1024Ti', 2 ** 50],
])('%s are %d bytes', (text, bytes) => {
  expect(quantityBytes(text)).toBe(bytes);
});

test.each([
  [0, '0'],
  [1, '1'],
  [1000, '1000'],
  [1024, '1Ki'],
  [1536, '1536'],
  [2 ** 31, '2Gi'],
  [3 * 2 ** 20, '3Mi'],
  [2 ** 50, '1024Ti'],
])('%d bytes are written %s', (bytes, text) => {
  expect(bytesQuantity(bytes)).toBe(text);
});

test.each(['', '5', '0s', '1d', 'x'])('%j is no duration', (text) => {
  expect(() => durationMs(text)).toThrow(`not a duration: ${text}`);
});

test.each(['', 'Gi', '1.2.3', '8GB', '1'.repeat(33)])('%j is no quantity', (text) => {
  expect(() => quantityBytes(text)).toThrow(`not a quantity: ${text}`);
});

test('bytes written as a quantity are read back exactly', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      expect(quantityBytes(bytesQuantity(bytes))).toBe(bytes);
    }),
  );
});

test('every duration lies within what a timer can count', () => {
  fc.assert(
    fc.property(arbitraryOf(Duration), (text) => {
      const milliseconds = durationMs(String(text));
      expect(milliseconds).toBeGreaterThan(0);
      expect(milliseconds).toBeLessThan(2 ** 31);
    }),
  );
});

test('every size is a whole number of bytes that is counted exactly', () => {
  fc.assert(
    fc.property(arbitraryOf(Size), (text) => {
      expect(Number.isSafeInteger(quantityBytes(String(text)))).toBe(true);
    }),
  );
});
