import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bundlePaths } from '../../node-daemon/vm/bundle.ts';
import { cloneDisk } from '../../node-daemon/vm/qemu/clone.ts';
import type { BenchContext } from '../harness/run.ts';
import { type Summary, summarize } from '../harness/statistics.ts';
import { countExtents, mountXfs, reverseChunks } from './xfs.ts';

const SIZES_GB = [0.4, 4, 20] as const;
const CHUNK = 16 * 2 ** 20;
const UID = '00000000-0000-4000-8000-000000000000';

interface CloneFigures {
  readonly gigabytes: number;
  readonly extents: number;
  /** The driver's whole clone: room asked for, reflink, mode, size, name. */
  readonly clone: Summary;
}

/** Clones fully written disks again and again, with what the qemu driver clones with. Milliseconds. */
export async function measureClones(context: BenchContext, clones: number): Promise<object> {
  const xfs = await mountXfs(context, { bytes: 64 * 2 ** 30, roomBytes: 30e9 });
  if ('skipped' in xfs) return xfs;
  const bundle = bundlePaths(xfs.dir, UID, 1);
  await mkdir(bundle.dir, { recursive: true });
  const sizes: CloneFigures[] = [];
  for (const gigabytes of SIZES_GB) {
    const disk = join(xfs.dir, `template-${gigabytes}.img`);
    context.tell(`writing ${gigabytes} GB`);
    const bytes = await writeFragmented(disk, gigabytes * 1e9);
    const extents = await countExtents(disk);
    if (extents < bytes / CHUNK) throw new Error(`${disk} has ${extents} extents, fewer than one per 16 MiB`);
    const times: number[] = [];
    for (let count = 0; count < clones; count += 1) {
      const began = performance.now();
      const format = await cloneDisk(bundle, disk, bytes, new AbortController().signal);
      times.push(performance.now() - began);
      if (format !== 'raw') throw new Error('the disk was not cloned by reflink');
      await rm(bundle.disk);
    }
    sizes.push({ gigabytes, extents, clone: summarize(times) });
  }
  return { filesystem: 'XFS with reflink on a loop device', unit: 'ms', sizes };
}

/**
 * Writes data into all of a file so that no 16 MiB of it lie before the next 16 on disk: the filesystem would
 * otherwise keep it in few extents. Returns its size, a whole number of chunks.
 */
async function writeFragmented(path: string, bytes: number): Promise<number> {
  const chunks = Math.ceil(bytes / CHUNK);
  const whole = `${path}.whole`;
  const file = await open(whole, 'wx');
  try {
    const data = Buffer.alloc(CHUNK, 'shoes');
    for (let index = 0; index < chunks; index += 1) await file.write(data, 0, CHUNK, index * CHUNK);
    await file.sync();
  } finally {
    await file.close();
  }
  await reverseChunks(whole, path, chunks, CHUNK);
  await rm(whole);
  return chunks * CHUNK;
}
