import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { extractKernel } from './kernel.ts';
import { decodeLz4Legacy } from './lz4.ts';

const ELF = Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.from('the kernel '.repeat(50))]);
const PVH = 'CONFIG_X=y\nCONFIG_PVH=y\n';

/** An image with the fields of the boot protocol that we read, and nothing else. */
function bzImage(payload: Buffer): Buffer {
  const setup = Buffer.alloc(3 * 512);
  setup[0x1f1] = 2;
  setup.write('HdrS', 0x202, 'latin1');
  const offset = 64;
  setup.writeUInt32LE(offset, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(offset), payload, Buffer.alloc(100)]);
}

const withLength = (packed: Buffer): Buffer => Buffer.concat([packed, Buffer.alloc(4)]);

function lz4Frame(...blocks: Buffer[]): Buffer {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  return Buffer.concat([word(0x184c2102), ...blocks.flatMap((block) => [word(block.length), block])]);
}

/** Literals only, which is a valid last sequence of any length. */
function literals(bytes: Buffer): Buffer {
  const rest = bytes.length - 15;
  const lengths = rest < 0 ? [] : [...Array(Math.floor(rest / 255)).fill(255), rest % 255];
  return Buffer.concat([Buffer.from([Math.min(bytes.length, 15) << 4, ...lengths]), bytes]);
}

describe('extractKernel', () => {
  test.each([
    ['gzip', withLength(gzipSync(ELF))],
    ['zstd', withLength(zstdCompressSync(ELF))],
    ['lz4', withLength(lz4Frame(literals(ELF)))],
  ])('unpacks %s', (_, payload) => {
    expect(extractKernel(bzImage(payload), PVH)).toEqual({ image: ELF, plain: true });
  });

  test.each([
    ['cannot be started directly', bzImage(withLength(gzipSync(ELF))), 'CONFIG_X=y'],
    ['is no bzImage', ELF, PVH],
    ['is packed otherwise', bzImage(Buffer.from('BZh9')), PVH],
    ['is damaged', bzImage(withLength(gzipSync(ELF)).fill(0, 20)), PVH],
    ['holds something else', bzImage(withLength(gzipSync('text'))), PVH],
  ])('leaves as it is what %s', (_, image, config) => {
    expect(extractKernel(image, config)).toEqual({ image, plain: false });
  });
});

describe('decodeLz4Legacy', () => {
  test('repeats matches, those that overlap themselves too', () => {
    // "abc", then 9 bytes from 3 back, then the literal "d".
    const block = Buffer.from([0x35, 0x61, 0x62, 0x63, 3, 0, 0x10, 0x64]);
    expect(decodeLz4Legacy(lz4Frame(block)).toString()).toBe('abcabcabcabcd');
  });

  test('joins blocks', () => {
    const frame = lz4Frame(literals(Buffer.from('one ')), literals(Buffer.from('two')));
    expect(decodeLz4Legacy(frame).toString()).toBe('one two');
  });

  test.each([
    ['another format', Buffer.from('PK\x03\x04....')],
    ['a block cut off', lz4Frame(literals(Buffer.from('text'))).subarray(0, -1)],
    ['a match before the beginning', lz4Frame(Buffer.from([0x10, 0x61, 9, 0, 0x00]))],
    ['a match of distance 0', lz4Frame(Buffer.from([0x10, 0x61, 0, 0, 0x00]))],
    ['literals beyond the end', lz4Frame(Buffer.from([0x50, 0x61]))],
    ['a length beyond the end', lz4Frame(Buffer.from([0xf0, 255]))],
  ])('throws on %s', (_, frame) => {
    expect(() => decodeLz4Legacy(frame)).toThrow(RangeError);
  });
});
