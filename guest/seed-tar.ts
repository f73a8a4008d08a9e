/** The files of an archive by name, or why it is not one that can be trusted. */
export type TarContents = { readonly files: ReadonlyMap<string, Uint8Array> } | { readonly problem: string };

const BLOCK = 512;
const MAX_FILES = 32;

/**
 * Reads a ustar archive of plain files, all or nothing: whatever is cut off, altered or not understood makes the
 * whole archive a problem, so that nobody acts on half of it. Bytes after the end mark are padding and ignored.
 * Never throws.
 */
export function readTar(bytes: Uint8Array): TarContents {
  const files = new Map<string, Uint8Array>();
  for (let offset = 0; ; ) {
    const header = bytes.subarray(offset, offset + BLOCK);
    if (header.length < BLOCK) return { problem: 'it ends before the end of the archive' };
    if (isZero(header)) {
      const second = bytes.subarray(offset + BLOCK, offset + 2 * BLOCK);
      const ended = second.length === BLOCK && isZero(second);
      return ended ? { files } : { problem: 'it ends before the end of the archive' };
    }
    const entry = readHeader(header);
    if (typeof entry === 'string') return { problem: entry };
    if (files.has(entry.name)) return { problem: `${entry.name} is there twice` };
    if (files.size === MAX_FILES) return { problem: `it has more than ${MAX_FILES} files` };
    const start = offset + BLOCK;
    const data = bytes.subarray(start, start + entry.size);
    if (data.length < entry.size) return { problem: `${entry.name} is cut off` };
    files.set(entry.name, data);
    offset = start + Math.ceil(entry.size / BLOCK) * BLOCK;
  }
}

/** Name and size of a plain file, or what is wrong with the header. */
function readHeader(header: Uint8Array): { name: string; size: number } | string {
  if (text(header, 257, 5) !== 'ustar') return 'it is not a ustar archive';
  const sum = octal(header, 148, 8);
  if (sum === undefined || sum !== checksum(header)) return 'a header is corrupt (checksum)';
  const type = header[156];
  if (type !== 0x30 && type !== 0) return 'it holds something that is not a plain file';
  const name = text(header, 0, 100);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) || text(header, 345, 155) !== '') {
    return 'it holds a file that is not named plainly';
  }
  const size = octal(header, 124, 12);
  return size === undefined ? `the size of ${name} is not a number` : { name, size };
}

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Up to the first NUL. One character per byte: names beyond ASCII are refused above. */
function text(header: Uint8Array, start: number, length: number): string {
  const field = header.subarray(start, start + length);
  const end = field.indexOf(0);
  return String.fromCharCode(...(end === -1 ? field : field.subarray(0, end)));
}

function octal(header: Uint8Array, start: number, length: number): number | undefined {
  const digits = text(header, start, length).trim();
  return /^[0-7]{1,11}$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** Sum of the header's bytes, its checksum field counted as spaces. */
function checksum(header: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : (header[i] ?? 0);
  return sum;
}
