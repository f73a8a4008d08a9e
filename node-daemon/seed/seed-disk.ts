import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { SEED_ENTRIES, type SeedConfig } from '../../guest/protocol.ts';
import { replaceFile } from '../durable-file.ts';
import type { SshKeyPair } from '../ssh/key-pair.ts';

/** What one VM is told about itself. */
export interface SeedContents {
  readonly config: SeedConfig;
  readonly hostKey: SshKeyPair;
  /** Lines of the login user's authorized_keys, each ended by a newline. */
  readonly authorizedKeys: string;
}

const SECTOR_BYTES = 512;
/** Hypervisors refuse or mishandle disks of a few sectors. */
const MIN_DISK_BYTES = 64 * 1024;

/**
 * Writes the seed disk: a plain ustar archive, padded with zeroes to whole sectors. It holds the VM's secrets,
 * so only its owner may read it. On return it is on disk, synced; a crash leaves either no file at `path` or
 * all of it. An existing file is replaced.
 */
export async function writeSeedDisk(path: string, contents: SeedContents): Promise<void> {
  await replaceFile(path, await seedImage(contents), 0o600);
}

/** The bytes of a seed disk. */
export async function seedImage({ config, hostKey, authorizedKeys }: SeedContents): Promise<Buffer> {
  const archive = pack();
  let checksums = '';
  const add = (name: string, text: string): void => {
    checksums += `${createHash('sha256').update(text).digest('hex')}  ${name}\n`;
    archive.entry({ name, mode: 0o600, uid: 0, gid: 0, mtime: new Date(0) }, text);
  };
  add(SEED_ENTRIES.config, `${JSON.stringify(config)}\n`);
  add(SEED_ENTRIES.hostKey, hostKey.privateKey);
  add(SEED_ENTRIES.hostKeyPublic, `${hostKey.publicKey}\n`);
  add(SEED_ENTRIES.authorizedKeys, authorizedKeys);
  add(SEED_ENTRIES.checksums, checksums);
  archive.finalize();
  const bytes = await buffer(archive);
  const size = Math.max(Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES, MIN_DISK_BYTES);
  return Buffer.concat([bytes, Buffer.alloc(size - bytes.length)]);
}
