/** A file or directory of an initial ramdisk. */
export interface CpioEntry {
  /** Without a leading slash. */
  readonly name: string;
  /** Type and permissions, as stat has them: 0o100755 for a program. */
  readonly mode: number;
  readonly data?: Uint8Array | undefined;
}

/** A "newc" archive, the format that Linux unpacks as its first root. Owned by root, without times. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const [index, entry] of [...entries, { name: 'TRAILER!!!', mode: 0 }].entries()) {
    parts.push(...record(entry, index + 1));
  }
  return Buffer.concat(parts);
}

function record({ name, mode, data = Buffer.alloc(0) }: CpioEntry, inode: number): readonly Buffer[] {
  const nameBytes = Buffer.from(`${name}\0`);
  const links = mode >> 12 === 0o4 ? 2 : 1;
  // c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_dev{major,minor} c_rdev{major,minor} c_namesize c_check
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return [aligned(Buffer.concat([Buffer.from(header), nameBytes])), aligned(Buffer.from(data))];
}

function aligned(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
