import type { Bundles } from '../../../node-daemon/runner/ports.ts';
import type {
  BundleListing,
  BundleOrigin,
  BundleView,
  MetadataPatch,
} from '../../../node-daemon/vm/bundle.ts';
import { bundlePaths, parseBundleName, sameIdentity } from '../../../node-daemon/vm/bundle.ts';
import type { BundlePaths } from '../../../node-daemon/vm/driver.ts';
import { type MetadataRead, RuntimeMetadata } from '../../../node-daemon/vm/metadata.ts';
import type { Life } from '../life.ts';

const METADATA_FILE = 'RuntimeMetadata.json';
/** Where a new version lies until it is renamed. */
const TEMPORARY_FILE = `${METADATA_FILE}.tmp`;

/** Names of a directory's files, and what they hold as far as anybody reads it. */
export type BundleFiles = Map<string, unknown>;

/** The bundles of one host root, as they are on disk: they outlive daemons and reboots. */
export class SimDisk {
  /** By directory name. */
  readonly bundles = new Map<string, BundleFiles>();
  /** No file grows and none is made. */
  isFull = false;
  /** It was full at some time: what a daemon could not write then, it may know all the same. */
  wasFull = false;
  /** Nothing can be read, as while a volume does not answer. */
  isBroken = false;

  files({ uid, attempt }: Pick<BundlePaths, 'uid' | 'attempt'>): BundleFiles | undefined {
    return this.bundles.get(`${uid}.${attempt}.bundle`);
  }

  metadata(bundle: Pick<BundlePaths, 'uid' | 'attempt'>): RuntimeMetadata | undefined {
    const read = metadataOf(this.files(bundle));
    return read.state === 'present' ? read.metadata : undefined;
  }

  /** Whether anything but a tombstone is left. */
  holds(bundle: Pick<BundlePaths, 'uid' | 'attempt'>): boolean {
    const files = this.files(bundle);
    return files !== undefined && [...files.keys()].some((name) => name !== METADATA_FILE);
  }
}

function metadataOf(files: BundleFiles | undefined): MetadataRead {
  const content = files?.get(METADATA_FILE);
  if (content === undefined) return { state: 'absent' };
  return content instanceof Valid
    ? { state: 'present', metadata: content.metadata }
    : { state: 'corrupt', why: `${METADATA_FILE} is not JSON` };
}

/** Metadata that was parsed when it was written. Nobody changes it afterwards. */
class Valid {
  readonly metadata: RuntimeMetadata;
  constructor(metadata: RuntimeMetadata) {
    this.metadata = RuntimeMetadata.parse(metadata);
  }
}

/** As Node throws it. */
function noSpace(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
}

const readMs = (life: Life): number => (life.random.chance(0.2) ? life.random.int(1, 3) : 0);
const writeMs = (life: Life): number => life.random.int(0, 4);

/**
 * {@link Bundles} of one daemon's life: step by step what BundleStore does, each step an effect, so that a death in
 * between leaves what it would leave on a real disk.
 */
export class SimBundles implements Bundles {
  readonly #root: string;
  readonly #disk: SimDisk;
  readonly #life: Life;
  readonly #pending = new Map<string, Promise<unknown>>();
  readonly #paths = new Map<string, BundlePaths>();

  constructor(root: string, disk: SimDisk, life: Life) {
    this.#root = root;
    this.#disk = disk;
    this.#life = life;
  }

  paths(uid: string, attempt: number): BundlePaths {
    const name = `${uid}.${attempt}`;
    const paths = this.#paths.get(name) ?? bundlePaths(this.#root, uid, attempt);
    this.#paths.set(name, paths);
    return paths;
  }

  async list(): Promise<BundleListing> {
    await this.#read();
    const bundles: BundlePaths[] = [];
    for (const name of this.#disk.bundles.keys()) {
      const parsed = parseBundleName(name);
      if (parsed !== undefined) bundles.push(this.paths(parsed.uid, parsed.attempt));
    }
    return { bundles, unknown: [] };
  }

  async view(bundle: BundlePaths): Promise<BundleView | undefined> {
    await this.#read();
    const files = this.#disk.files(bundle);
    if (files === undefined) return undefined;
    const metadata = metadataOf(files);
    const bare = !this.#disk.holds(bundle);
    const purged = metadata.state === 'present' ? bare && metadata.metadata.tombstone !== undefined : bare;
    return { metadata, purged };
  }

  create(origin: BundleOrigin): Promise<BundlePaths> {
    const bundle = this.paths(origin.identity.uid, origin.identity.attempt);
    return this.#inOrder(bundle, async () => {
      if (this.#disk.files(bundle) === undefined) {
        await this.#write('make the bundle', () => this.#disk.bundles.set(nameOf(bundle), new Map()));
      }
      const read = metadataOf(this.#disk.files(bundle));
      if (read.state === 'corrupt') throw new Error(`${bundle.dir}: ${read.why}`);
      if (read.state === 'present') {
        if (sameIdentity(read.metadata.identity, origin.identity)) return bundle;
        throw new Error(`${bundle.dir} belongs to the host object ${read.metadata.identity.hostUid}`);
      }
      await this.#replace(bundle, { version: 1, ...origin });
      return bundle;
    });
  }

  update(bundle: BundlePaths, patch: MetadataPatch): Promise<RuntimeMetadata> {
    return this.#inOrder(bundle, () => this.#merge(bundle, patch));
  }

  purgeFiles(bundle: BundlePaths, now: number): Promise<void> {
    return this.#inOrder(bundle, async () => {
      await this.#read();
      const files = this.#disk.files(bundle);
      if (files === undefined) return;
      for (const name of [...files.keys()]) {
        if (name === METADATA_FILE) continue;
        await this.#life.takes(writeMs(this.#life));
        await this.#life.effect('remove a file of the bundle', () => files.delete(name));
      }
      const read = metadataOf(files);
      if (read.state === 'present' && read.metadata.tombstone === undefined) {
        await this.#bury(bundle, { ...read.metadata, tombstone: { purgedAt: now } });
      }
    });
  }

  removeTombstone(bundle: BundlePaths): Promise<void> {
    return this.#inOrder(bundle, async () => {
      const view = await this.view(bundle);
      if (view === undefined) return;
      if (!view.purged) throw new Error(`${bundle.dir} was not purged`);
      await this.#life.takes(writeMs(this.#life));
      await this.#life.effect('remove the tombstone', () => this.#disk.files(bundle)?.delete(METADATA_FILE));
      await this.#life.effect('remove the bundle', () => this.#disk.bundles.delete(nameOf(bundle)));
    });
  }

  /** Writes any other file of a bundle. */
  async put(bundle: BundlePaths, name: string, content: unknown): Promise<void> {
    await this.#write(`write ${name}`, () => {
      const files = this.#disk.files(bundle);
      if (files === undefined) throw Object.assign(new Error(`ENOENT: ${bundle.dir}`), { code: 'ENOENT' });
      files.set(name, content);
    });
  }

  async #merge(bundle: BundlePaths, patch: MetadataPatch): Promise<RuntimeMetadata> {
    await this.#read();
    const read = metadataOf(this.#disk.files(bundle));
    if (read.state !== 'present') {
      const why = read.state === 'corrupt' ? read.why : `there is no ${METADATA_FILE}`;
      throw new Error(`${bundle.dir}: ${why}`);
    }
    const merged = { ...read.metadata, ...patch };
    await this.#replace(bundle, merged);
    return merged;
  }

  /** A reader sees the old file or the new one; a death in between leaves another beside it. */
  async #replace(bundle: BundlePaths, metadata: RuntimeMetadata): Promise<void> {
    const content = new Valid(metadata);
    await this.put(bundle, TEMPORARY_FILE, content);
    await this.#life.effect(`rename ${TEMPORARY_FILE}`, () => {
      const files = this.#disk.files(bundle);
      files?.delete(TEMPORARY_FILE);
      files?.set(METADATA_FILE, content);
    });
  }

  /** On a full disk the file is overwritten where it lies, which a death leaves half done. */
  async #bury(bundle: BundlePaths, metadata: RuntimeMetadata): Promise<void> {
    if (!this.#disk.isFull) {
      await this.#replace(bundle, metadata);
      return;
    }
    for (const content of ['half', new Valid(metadata)]) {
      await this.#life.takes(writeMs(this.#life));
      await this.#life.effect(`overwrite ${METADATA_FILE}`, () =>
        this.#disk.files(bundle)?.set(METADATA_FILE, content),
      );
    }
  }

  async #read(): Promise<void> {
    await this.#life.takes(readMs(this.#life));
    if (this.#disk.isBroken) throw Object.assign(new Error('EIO: i/o error, scandir'), { code: 'EIO' });
  }

  async #write(name: string, change: () => unknown): Promise<void> {
    await this.#life.takes(writeMs(this.#life));
    if (this.#disk.isFull) throw noSpace();
    await this.#life.effect(name, change);
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

const nameOf = ({ uid, attempt }: BundlePaths): string => `${uid}.${attempt}.bundle`;
