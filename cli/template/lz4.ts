const FRAME_MAGIC = 0x184c2102;
/** Unpacked bytes per block of the legacy frame. */
const BLOCK_BYTES = 8 * 1024 * 1024;
const MIN_MATCH = 4;

/**
 * Unpacks LZ4's legacy frame, the one that Linux kernels are packed with. What follows the last block (the kernel's
 * build appends the unpacked length) is ignored. Throws a RangeError on anything malformed.
 */
export function decodeLz4Legacy(frame: Buffer): Buffer {
  if (frame.length < 8 || frame.readUInt32LE(0) !== FRAME_MAGIC)
    throw new RangeError('not a legacy LZ4 frame');
  const blocks: Buffer[] = [];
  for (let offset = 4; offset + 4 < frame.length; ) {
    const size = frame.readUInt32LE(offset);
    if (size === FRAME_MAGIC) {
      offset += 4;
      continue;
    }
    const block = frame.subarray(offset + 4, offset + 4 + size);
    if (block.length < size) throw new RangeError('LZ4 block cut off');
    blocks.push(decodeBlock(block));
    offset += 4 + size;
  }
  return Buffer.concat(blocks);
}

/** Sequences of literals and matches; the last one has literals only. */
function decodeBlock(block: Buffer): Buffer {
  const out = Buffer.alloc(BLOCK_BYTES);
  let at = 0;
  let size = 0;
  const length = (nibble: number): number => {
    let total = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; total += byte) byte = byteAt(block, at++);
    return total;
  };
  while (at < block.length) {
    const token = byteAt(block, at++);
    const literals = length(token >> 4);
    if (at + literals > block.length || size + literals > out.length)
      throw new RangeError('LZ4 literals beyond the end');
    block.copy(out, size, at, at + literals);
    at += literals;
    size += literals;
    if (at === block.length) break;
    const distance = byteAt(block, at) | (byteAt(block, at + 1) << 8);
    at += 2;
    const match = length(token & 15) + MIN_MATCH;
    if (distance === 0 || distance > size || size + match > out.length)
      throw new RangeError('LZ4 match out of range');
    for (const end = size + match; size < end; ) {
      // A match may overlap what it produces: copy at most one distance at a time.
      const step = Math.min(distance, end - size);
      out.copy(out, size, size - distance, size - distance + step);
      size += step;
    }
  }
  return out.subarray(0, size);
}

function byteAt(block: Buffer, index: number): number {
  const byte = block[index];
  if (byte === undefined) throw new RangeError('LZ4 block cut off');
  return byte;
}
