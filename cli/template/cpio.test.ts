import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CpioEntry, cpioArchive } from './cpio.ts';

/** Reads a "newc" archive the way the kernel does. */
function readCpio(archive: Buffer): CpioEntry[] {
  const entries: CpioEntry[] = [];
  for (let offset = 0; ; ) {
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', offset + 6 + 8 * index, offset + 14 + 8 * index), 16);
    expect(archive.toString('latin1', offset, offset + 6)).toBe('070701');
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = archive.toString('utf8', offset + 110, offset + 110 + nameSize - 1);
    const data = (offset + 110 + nameSize + 3) & ~3;
    if (name === 'TRAILER!!!') return entries;
    entries.push({ name, mode, data: Buffer.from(archive.subarray(data, data + size)) });
    offset = (data + size + 3) & ~3;
  }
}

test('what is written can be read back', () => {
  const entry = fc.record({
    name: fc.stringMatching(/^[a-z][a-z0-9/._-]{0,30}$/),
    mode: fc.constantFrom(0o100755, 0o100644, 0o040755),
    data: fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), (entries) => {
      const archive = cpioArchive(entries);
      expect(archive.length % 4).toBe(0);
      expect(readCpio(archive)).toEqual(entries);
    }),
  );
});
