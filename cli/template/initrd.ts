import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { TemplateBuildError } from './error.ts';
import { loadOrder } from './modules.ts';
import { run } from './run.ts';

/** What reaches the root disk and the network under QEMU and Virtualization.framework. */
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_net'] as const;

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;

export interface InitrdSources {
  /** The unpacked root filesystem: busybox is taken from it. */
  readonly root: string;
  /** `lib/modules/<version>` of the kernel. */
  readonly modules: string;
  /** The first process. */
  readonly init: string;
  /** Room for unpacked modules. */
  readonly scratch: string;
  readonly signal: AbortSignal;
}

/** The initial ramdisk: busybox, the modules in the order of loading, and the init. Uncompressed: it is small. */
export async function makeInitrd(sources: InitrdSources): Promise<Buffer> {
  const modules = await loadOrder(MODULES, await moduleReader(sources));
  if (!modules.some(({ name }) => name === 'virtio_blk')) {
    throw new TemplateBuildError('the kernel package has no module virtio_blk');
  }
  const entries: CpioEntry[] = ['bin', 'dev', 'modules', 'root'].map((name) => ({ name, mode: DIRECTORY }));
  entries.push(
    { name: 'bin/busybox', mode: PROGRAM, data: await readFile(join(sources.root, 'usr/bin/busybox')) },
    { name: 'init', mode: PROGRAM, data: await readFile(sources.init) },
    ...modules.map(({ name, object }, index) => ({
      name: `modules/${String(index).padStart(2, '0')}-${name}.ko`,
      mode: FILE,
      data: object,
    })),
  );
  return cpioArchive(entries);
}

/** Finds modules by name in the tree of a kernel; compressed ones are unpacked with the guest's own xz. */
async function moduleReader({ root, modules, scratch, signal }: InitrdSources) {
  const paths = new Map<string, string>();
  for (const path of await readdir(modules, { recursive: true })) {
    const match = /^(.+)\.ko(\.xz)?$/.exec(basename(path));
    // Dependencies are named with underscores, files at times with dashes.
    if (match?.[1] !== undefined) paths.set(match[1].replaceAll('-', '_'), join(modules, path));
  }
  await mkdir(scratch, { recursive: true });
  return async (name: string): Promise<Buffer | undefined> => {
    const path = paths.get(name);
    if (path === undefined) return undefined;
    if (!path.endsWith('.xz')) return readFile(path);
    const copy = join(scratch, basename(path));
    await copyFile(path, copy);
    await run('sh', [join(import.meta.dirname, 'guest-program.sh'), root, '/usr/bin/xz', 'xz', '-d', copy], {
      signal,
      timeoutMs: 60_000,
    });
    return readFile(copy.slice(0, -'.xz'.length));
  };
}
