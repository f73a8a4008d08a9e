import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { decodeLz4Legacy } from './lz4.ts';

/** How a kernel image is taken from its package. */
export interface ExtractedKernel {
  readonly image: Buffer;
  /** Whether the image is the plain ELF file, which QEMU starts at its PVH entry. */
  readonly plain: boolean;
}

/**
 * The uncompressed kernel inside an x86 bzImage where it can be started directly (CONFIG_PVH), else the image as
 * it is. Under emulation the guest's own unpacking costs half a second of every boot.
 */
export function extractKernel(bzImage: Buffer, config: string): ExtractedKernel {
  const asIs = { image: bzImage, plain: false };
  if (!/^CONFIG_PVH=y$/m.test(config)) return asIs;
  const payload = payloadOf(bzImage);
  const image = payload && decompress(payload);
  return image?.subarray(0, 4).equals(ELF_MAGIC) ? { image, plain: true } : asIs;
}

const ELF_MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);

/** Offsets in the x86 boot protocol's header, version 2.08 and newer. */
const SETUP_SECTORS = 0x1f1;
const HEADER_MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

function payloadOf(bzImage: Buffer): Buffer | undefined {
  if (bzImage.length < 1024 || bzImage.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) !== 'HdrS')
    return undefined;
  const protectedMode = ((bzImage[SETUP_SECTORS] || 4) + 1) * 512;
  const start = protectedMode + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const end = start + bzImage.readUInt32LE(PAYLOAD_LENGTH);
  return end <= bzImage.length ? bzImage.subarray(start, end) : undefined;
}

const DECODERS: readonly { readonly magic: string; readonly decode: (bytes: Buffer) => Buffer }[] = [
  { magic: '02214c18', decode: decodeLz4Legacy },
  { magic: '28b52ffd', decode: (bytes) => zstdDecompressSync(withoutLength(bytes)) },
  { magic: '1f8b08', decode: (bytes) => gunzipSync(withoutLength(bytes)) },
];

/** undefined where the format is not among those that we read. */
function decompress(payload: Buffer): Buffer | undefined {
  const start = payload.toString('hex', 0, 4);
  try {
    return DECODERS.find(({ magic }) => start.startsWith(magic))?.decode(payload);
  } catch {
    return undefined;
  }
}

/** The kernel's build appends the unpacked length as four bytes. */
function withoutLength(bytes: Buffer): Buffer {
  return bytes.subarray(0, -4);
}
