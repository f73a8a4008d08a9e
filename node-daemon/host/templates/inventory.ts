import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import type { Clock, Timer } from '../../../kube/clock.ts';
import type { Logger } from '../../../kube/log.ts';
import type { TemplateBundle, TemplateMetadata } from '../../vm/template.ts';
import { BundleWatch } from './bundle-watch.ts';
import { judgeBundle, type TemplateReader } from './judge.ts';

/** Fallback for file events that were lost; compares fingerprints only. */
const RESCAN_MS = 60_000;

export interface InventoryOptions {
  /** `<root>/templates`; need not be there yet. */
  readonly dir: string;
  readonly reader: TemplateReader;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What the inventory holds at one moment, names in order. */
export interface TemplateListing {
  /** Bundles that may be cloned, by name. */
  readonly published: ReadonlyMap<string, TemplateBundle>;
  /** What is wrong with the others, by name: one line each, which names the template. */
  readonly problems: ReadonlyMap<string, string>;
}

const EMPTY: TemplateListing = { published: new Map(), problems: new Map() };

/**
 * The templates of a host. Watches the directory and tells which bundles may be cloned: those whose digests
 * are right. A bundle that changed is withdrawn and published again when it was verified anew; a broken one
 * is a problem. Directories whose names start with a dot are not looked at: bundles are built in them and
 * renamed into place.
 */
export class TemplateInventory {
  readonly #options: InventoryOptions;
  readonly #watches = new Map<string, BundleWatch>();
  readonly #listeners = new Set<() => void>();
  #stopped = false;
  readonly #settling = Promise.withResolvers<void>();
  #scanned = false;
  #watcher: FSWatcher | undefined;
  #rescan: Timer | undefined;
  #hashing: Promise<unknown> = Promise.resolve();
  #listing: TemplateListing = EMPTY;

  constructor(options: InventoryOptions) {
    this.#options = options;
  }

  /** A new value after every change. */
  listing(): TemplateListing {
    return this.#listing;
  }

  /** Resolves when something can be said of every bundle that was there at the start. */
  get settled(): Promise<void> {
    return this.#settling.promise;
  }

  /** Calls back after every change. Returns the way out. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Returns when the directory was listed; the bundles in it are judged, and it is watched, from then on. */
  async start(): Promise<void> {
    const { dir, log } = this.#options;
    const watcher = watch(dir, {
      depth: 1,
      ignoreInitial: true,
      atomic: false,
      ignored: (path) => relative(dir, path).startsWith('.'),
    });
    this.#watcher = watcher;
    watcher.on('all', (_event, path) => this.#noticed(relative(dir, path)));
    watcher.on('error', (error) => log.warn({ err: error }, `${dir}: some changes will be noticed late`));
    // What changed between the listing and the first watch has no event.
    watcher.once('ready', () => void this.#scan());
    await this.#scan();
    this.#scanned = true;
    this.#settle();
    this.#scheduleRescan();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#listeners.clear();
    this.#rescan?.cancel();
    await this.#watcher?.close();
    for (const watch of this.#watches.values()) watch.stop();
    await this.#hashing;
  }

  #noticed(path: string): void {
    const [name = ''] = path.split(sep);
    if (name !== '') this.#watchOf(name).touched();
    else for (const watch of this.#watches.values()) watch.touched();
  }

  async #scan(): Promise<void> {
    try {
      for (const name of await this.#names()) this.#watchOf(name);
    } catch (error) {
      this.#options.log.warn({ err: error }, `${this.#options.dir}: the templates cannot be listed`);
    }
    if (this.#stopped) return;
    for (const watch of this.#watches.values()) watch.recheck();
  }

  #scheduleRescan(): void {
    if (this.#stopped) return;
    this.#rescan = this.#options.clock.setTimeout(() => {
      this.#scheduleRescan();
      void this.#scan();
    }, RESCAN_MS);
  }

  async #names(): Promise<string[]> {
    const entries = await readdir(this.#options.dir, { withFileTypes: true });
    return entries
      .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
      .map((entry) => entry.name);
  }

  #watchOf(name: string): BundleWatch {
    const known = this.#watches.get(name);
    if (known !== undefined) return known;
    const dir = join(this.#options.dir, name);
    const { clock } = this.#options;
    const reader: TemplateReader = {
      read: (path) => this.#options.reader.read(path),
      verify: (path, metadata, signal) => this.#verifyInTurn(path, metadata, signal),
    };
    const watch = new BundleWatch({
      dir,
      clock,
      judge: (signal) => judgeBundle(name, dir, reader, signal),
      changed: () => this.#changed(name),
    });
    this.#watches.set(name, watch);
    return watch;
  }

  /** One at a time: two hashes at once only make both slower. */
  #verifyInTurn(dir: string, metadata: TemplateMetadata, signal: AbortSignal): Promise<void> {
    const verify = async () => {
      signal.throwIfAborted();
      await this.#options.reader.verify(dir, metadata, signal);
    };
    const turn = this.#hashing.then(verify);
    this.#hashing = turn.catch(() => undefined);
    return turn;
  }

  #changed(name: string): void {
    const verdict = this.#watches.get(name)?.verdict();
    if (verdict?.state === 'absent') this.#watches.delete(name);
    const published = new Map<string, TemplateBundle>();
    const problems = new Map<string, string>();
    for (const [each, watch] of [...this.#watches].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const state = watch.verdict();
      if (state?.state === 'healthy') published.set(each, state.bundle);
      if (state?.state === 'broken') problems.set(each, state.problem);
    }
    const before = this.#listing;
    this.#listing = { published, problems };
    this.#tell(name, before);
    this.#settle();
    for (const listener of this.#listeners) listener();
  }

  #settle(): void {
    const judged = [...this.#watches.values()].every((watch) => watch.verdict() !== undefined);
    if (this.#scanned && judged) this.#settling.resolve();
  }

  #tell(name: string, before: TemplateListing): void {
    const { log, dir } = this.#options;
    const now = this.#listing;
    const problem = now.problems.get(name);
    if (problem !== undefined && problem !== before.problems.get(name)) {
      log.error({ dir: join(dir, name) }, `not offered: ${problem}`);
    }
    const bundle = now.published.get(name);
    if (bundle !== undefined)
      log.info({ template: name, digest: bundle.metadata.digest }, 'template offered');
    else if (before.published.has(name)) log.info({ template: name }, 'template withdrawn');
  }
}
