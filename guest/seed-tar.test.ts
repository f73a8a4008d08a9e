import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { type Header, pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { readTar } from './seed-tar.ts';

async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, text] of Object.entries(files)) archive.entry({ name }, text);
  archive.finalize();
  return buffer(archive);
}

/** Text of each file, or the problem. */
function contents(bytes: Uint8Array): Record<string, string> | string {
  const result = readTar(bytes);
  if ('problem' in result) return result.problem;
  return Object.fromEntries([...result.files].map(([name, data]) => [name, Buffer.from(data).toString()]));
}

const fileName = fc.stringMatching(/^[a-z][a-z0-9._-]{0,40}$/);
const files = fc.dictionary(fileName, fc.string({ maxLength: 1500, unit: 'binary' }), { maxKeys: 6 });

describe('readTar', () => {
  test('reads back what was written', async () => {
    await fc.assert(
      fc.asyncProperty(files, fc.nat({ max: 4096 }), async (written, padding) => {
        const bytes = Buffer.concat([await tarOf(written), Buffer.alloc(padding)]);
        expect(contents(bytes)).toEqual({ ...written });
      }),
      { numRuns: 50 },
    );
  });

  test('takes a cut archive for a problem, wherever it was cut', async () => {
    const bytes = await tarOf({ a: 'x'.repeat(700), b: 'y' });
    const end = bytes.length;
    fc.assert(
      fc.property(fc.nat({ max: end - 1 }), (length) => {
        expect(readTar(bytes.subarray(0, length))).toHaveProperty('problem');
      }),
    );
  });

  test('never throws, whatever it is given', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
        readTar(bytes);
      }),
    );
  });

  test('finds every change of a header', async () => {
    const bytes = await tarOf({ a: 'text' });
    fc.assert(
      fc.property(fc.nat({ max: 511 }), fc.integer({ min: 1, max: 255 }), (offset, change) => {
        const altered = Buffer.from(bytes);
        altered.writeUInt8(altered.readUInt8(offset) ^ change, offset);
        const result = contents(altered);
        // What is written into the checksum field may mean the same number in other characters.
        if (typeof result !== 'string') {
          expect(offset >= 148 && offset < 156).toBe(true);
          expect(result).toEqual({ a: 'text' });
        }
      }),
    );
  });

  test.each<[string, (Partial<Header> & { name: string })[], string]>([
    ['two files of one name', [{ name: 'a' }, { name: 'a' }], 'a is there twice'],
    ['a path', [{ name: '../a' }], 'it holds a file that is not named plainly'],
    ['a directory', [{ name: 'a', type: 'directory' }], 'it holds something that is not a plain file'],
    [
      'a link',
      [{ name: 'a', type: 'symlink', linkname: '/etc/shadow' }],
      'it holds something that is not a plain file',
    ],
    [
      'many files',
      Array.from({ length: 33 }, (_, index) => ({ name: `f${index}` })),
      'it has more than 32 files',
    ],
  ])('refuses %s', async (_, entries, problem) => {
    const archive = pack();
    for (const entry of entries) {
      if (entry.type === undefined) archive.entry(entry, '');
      else archive.entry(entry);
    }
    archive.finalize();
    expect(contents(await buffer(archive))).toBe(problem);
  });

  test('refuses what is no archive', () => {
    expect(contents(Buffer.alloc(2048, 0x41))).toBe('it is not a ustar archive');
  });
});
