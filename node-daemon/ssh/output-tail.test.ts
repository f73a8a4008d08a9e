import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutTail } from './output-tail.ts';

const tail = (text: string, maxBytes = 4096) => cutTail(Buffer.from(text), maxBytes);

describe('cutTail', () => {
  test.each([
    ['plain text\twith tabs\n', 'plain text\twith tabs\n'],
    ['\u001b[31mred\u001b[0m and \u001b]0;title\u0007plain', 'red and plain'],
    ['Windows\r\nline\r\n', 'Windows\nline\n'],
    ['10%\r20%\r30%\n', '10%\n20%\n30%\n'],
    ['be\u0000ll\u0007 del\u007f next line\u0085', 'bell del next line'],
    ['', ''],
  ])('%j becomes %j', (text, expected) => {
    expect(tail(text)).toBe(expected);
  });

  test('begins at a character, also in the middle of a long one', () => {
    expect(tail('a\u{1f600}b', 5)).toBe('\u{1f600}b');
    expect(tail('a\u{1f600}b', 4)).toBe('b');
    expect(tail('a\u{1f600}b', 2)).toBe('b');
    expect(tail('aüb', 2)).toBe('b');
  });

  test('drops the rest of a character that the bytes begin with', () => {
    expect(cutTail(Buffer.from('\u{1f600}x').subarray(2), 100)).toBe('x');
  });

  test('marks what is not UTF-8', () => {
    expect(cutTail(Buffer.from([0x61, 0xff, 0x62]), 100)).toBe('a\ufffdb');
  });

  const anyBytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: 'binary', maxLength: 200 }).map((text) => Buffer.from(text)),
  );

  test('is never longer than asked for, whole characters, and free of controls', () => {
    fc.assert(
      fc.property(anyBytes, fc.nat({ max: 400 }), (bytes, maxBytes) => {
        const text = cutTail(Buffer.from(bytes), maxBytes);
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(maxBytes);
        expect(text.isWellFormed()).toBe(true);
        expect(text).toMatch(/^[^\p{Cc}]*$|^(?:[^\p{Cc}]|[\n\t])*$/u);
      }),
    );
  });

  test('is the end of the text where that is clean', () => {
    const clean = fc.string({ unit: 'grapheme', maxLength: 200 }).filter((text) => !/\p{Cc}/u.test(text));
    fc.assert(
      fc.property(clean, fc.nat({ max: 400 }), (text, maxBytes) => {
        const cut = tail(text, maxBytes);
        expect(text.endsWith(cut)).toBe(true);
        expect(Buffer.byteLength(text) <= maxBytes ? cut : text).toBe(text);
        const missing = Math.min(maxBytes, Buffer.byteLength(text)) - Buffer.byteLength(cut);
        expect(missing).toBeLessThan(4);
      }),
    );
  });
});
