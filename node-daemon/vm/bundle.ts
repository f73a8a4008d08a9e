import { mkdir, readdir, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { syncDirectory } from '../durable-file.ts';
import type { BundlePaths, VmIdentity } from './driver.ts';
import {
  type MetadataRead,
  overwriteMetadata,
  type RuntimeMetadata,
  readMetadata,
  writeMetadata,
} from './metadata.ts';

/**
 * Layout of a bundle, `<root>/runners/<uid>.<attempt>.bundle/`, mode 0700:
 *
 *     RuntimeMetadata.json   what the host knows of the VM; the last file to go
 *     Disk.img               clone of the template's disk; Disk.qcow2 where the filesystem cannot clone
 *     seed.img               seed disk
 *     id_ed25519             the Runner's own SSH key
 *     guest-token            the secret that guest and host know each other by
 *     control.sock           the VM's process listens here
 *     vm.log, serial.log     its output, the guest's console
 *
 * A bundle whose files were purged is a tombstone: the metadata alone, until {@link
 * BundleStore.removeTombstone}.
 */
const NAME = /^([0-9a-zA-Z-]{1,36})\.([1-9][0-9]{0,2})\.bundle$/;
const METADATA_FILE = 'RuntimeMetadata.json';

/** Longest name that {@link bundlePaths} makes: what socket paths are budgeted with. */
export const MAX_BUNDLE_NAME = 36 + 1 + 3 + '.bundle'.length;

/** Throws on a UID or attempt that would not make a bundle's name: both come from the API server. */
export function bundlePaths(root: string, uid: string, attempt: number): BundlePaths {
  const name = `${uid}.${attempt}.bundle`;
  if (!NAME.test(name)) throw new Error(`not a bundle name: ${JSON.stringify(name)}`);
  const dir = join(runnersDir(root), name);
  return {
    uid,
    attempt,
    dir,
    disk: join(dir, 'Disk.img'),
    diskOverlay: join(dir, 'Disk.qcow2'),
    seed: join(dir, 'seed.img'),
    metadata: join(dir, METADATA_FILE),
    controlSocket: join(dir, 'control.sock'),
    log: join(dir, 'vm.log'),
    serialLog: join(dir, 'serial.log'),
    privateKey: join(dir, 'id_ed25519'),
    guestToken: join(dir, 'guest-token'),
  };
}

export function parseBundleName(name: string): { uid: string; attempt: number } | undefined {
  const match = NAME.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { uid: match[1], attempt: Number(match[2]) };
}

export function runnersDir(root: string): string {
  return join(root, 'runners');
}

export function templatesDir(root: string): string {
  return join(root, 'templates');
}

export interface BundleListing {
  readonly bundles: readonly BundlePaths[];
  /** Names in the directory that are no bundles. Reported, never touched. */
  readonly unknown: readonly string[];
}

/** Throws where the directory cannot be read, missing included: that is unknown, not empty. */
export async function listBundles(root: string): Promise<BundleListing> {
  const bundles: BundlePaths[] = [];
  const unknown: string[] = [];
  for (const entry of await readdir(runnersDir(root), { withFileTypes: true })) {
    const parsed = entry.isDirectory() ? parseBundleName(entry.name) : undefined;
    if (parsed === undefined) unknown.push(entry.name);
    else bundles.push(bundlePaths(root, parsed.uid, parsed.attempt));
  }
  return { bundles, unknown };
}

/** What a bundle is created with. */
export type BundleOrigin = Pick<
  RuntimeMetadata,
  'identity' | 'runner' | 'template' | 'createdAt' | 'timeouts'
>;

/** Fields that change over a VM's life. `undefined` removes one. */
export type MetadataPatch = Partial<
  Omit<RuntimeMetadata, 'version' | 'identity' | 'runner' | 'template' | 'createdAt' | 'timeouts'>
>;

export interface BundleView {
  readonly metadata: MetadataRead;
  /**
   * Nothing but the tombstone is left. Where the metadata cannot be read, an otherwise empty directory says
   * the same.
   */
  readonly purged: boolean;
}

/**
 * The bundles of one host root. One store per root and process: it puts updates of one bundle in order, so
 * that none is lost. Everything that it changed survives a crash of the machine when its promise settles.
 */
export class BundleStore {
  readonly root: string;
  readonly #pending = new Map<string, Promise<unknown>>();

  constructor(root: string) {
    this.root = root;
  }

  paths(uid: string, attempt: number): BundlePaths {
    return bundlePaths(this.root, uid, attempt);
  }

  list(): Promise<BundleListing> {
    return listBundles(this.root);
  }

  /** undefined: there is no such bundle. Throws where that cannot be said. */
  async view(bundle: BundlePaths): Promise<BundleView | undefined> {
    const entries = await readdir(bundle.dir).catch(absentAsUndefined);
    if (entries === undefined) return undefined;
    const metadata = await readMetadata(bundle.metadata);
    const bare = entries.every((name) => name === METADATA_FILE);
    const purged = metadata.state === 'present' ? bare && metadata.metadata.tombstone !== undefined : bare;
    return { metadata, purged };
  }

  /**
   * Puts the VM's identity on disk, before anything else of it exists. Idempotent: a bundle of the same
   * identity is left as it is. Throws where the bundle belongs to another host object or is corrupt.
   */
  create(origin: BundleOrigin): Promise<BundlePaths> {
    const bundle = this.paths(origin.identity.uid, origin.identity.attempt);
    return this.#inOrder(bundle, async () => {
      await mkdir(bundle.dir, { mode: 0o700 }).catch(ignore('EEXIST'));
      const read = await readMetadata(bundle.metadata);
      if (read.state === 'corrupt') throw new Error(`${bundle.dir}: ${read.why}`);
      if (read.state === 'present') {
        if (sameIdentity(read.metadata.identity, origin.identity)) return bundle;
        throw new Error(`${bundle.dir} belongs to the host object ${read.metadata.identity.hostUid}`);
      }
      await writeMetadata(bundle.metadata, { version: 1, ...origin });
      await syncDirectory(dirname(bundle.dir));
      return bundle;
    });
  }

  /** Merges top-level fields. Returns what is on disk now. Throws where there is no readable metadata. */
  update(bundle: BundlePaths, patch: MetadataPatch): Promise<RuntimeMetadata> {
    return this.#inOrder(bundle, () => this.#merge(bundle, patch));
  }

  /**
   * Removes every file but the metadata and marks it as a tombstone. The VM's process must have been observed
   * gone before. Idempotent; a bundle that is not there stays away.
   */
  purgeFiles(bundle: BundlePaths, now: number): Promise<void> {
    return this.#inOrder(bundle, async () => {
      const entries = await readdir(bundle.dir).catch(absentAsUndefined);
      if (entries === undefined) return;
      const doomed = entries.filter((name) => name !== METADATA_FILE);
      await Promise.all(doomed.map((name) => rm(join(bundle.dir, name), { recursive: true, force: true })));
      const read = await readMetadata(bundle.metadata);
      // Either makes the removals durable. A crash that left tombstone and files would be no purge: see view.
      if (read.state === 'present' && read.metadata.tombstone === undefined) {
        await this.#bury(bundle, { ...read.metadata, tombstone: { purgedAt: now } });
      } else {
        await syncDirectory(bundle.dir);
      }
    });
  }

  /** Removes what {@link purgeFiles} left. Idempotent. Throws, and removes nothing, where there is more. */
  removeTombstone(bundle: BundlePaths): Promise<void> {
    return this.#inOrder(bundle, async () => {
      const view = await this.view(bundle);
      if (view === undefined) return;
      if (!view.purged) throw new Error(`${bundle.dir} was not purged`);
      await unlink(bundle.metadata).catch(ignore('ENOENT'));
      await rmdir(bundle.dir);
      await syncDirectory(dirname(bundle.dir));
    });
  }

  /**
   * A disk that is full has no room for a second file, and a purge that waited for it might wait for ever: the
   * metadata is overwritten where it lies then. A crash in the middle leaves it corrupt, which is a tombstone as good.
   */
  async #bury(bundle: BundlePaths, metadata: RuntimeMetadata): Promise<void> {
    try {
      await writeMetadata(bundle.metadata, metadata);
    } catch (error) {
      if (errorCode(error) !== 'ENOSPC') throw error;
      await overwriteMetadata(bundle.metadata, metadata);
      await syncDirectory(bundle.dir);
    }
  }

  async #merge(bundle: BundlePaths, patch: MetadataPatch): Promise<RuntimeMetadata> {
    const read = await readMetadata(bundle.metadata);
    if (read.state !== 'present') {
      const why = read.state === 'corrupt' ? read.why : `there is no ${basename(bundle.metadata)}`;
      throw new Error(`${bundle.dir}: ${why}`);
    }
    const merged = { ...read.metadata, ...patch };
    await writeMetadata(bundle.metadata, merged);
    return merged;
  }

  async #inOrder<T>(bundle: BundlePaths, work: () => Promise<T>): Promise<T> {
    const before = this.#pending.get(bundle.dir) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#pending.set(bundle.dir, mine);
    try {
      return await mine;
    } finally {
      if (this.#pending.get(bundle.dir) === mine) this.#pending.delete(bundle.dir);
    }
  }
}

export function sameIdentity(a: VmIdentity, b: VmIdentity): boolean {
  return a.uid === b.uid && a.attempt === b.attempt && a.hostUid === b.hostUid;
}

function errorCode(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function absentAsUndefined(error: unknown): undefined {
  if (errorCode(error) === 'ENOENT') return undefined;
  throw error;
}

function ignore(code: string): (error: unknown) => undefined {
  return (error) => {
    if (errorCode(error) === code) return undefined;
    throw error;
  };
}
