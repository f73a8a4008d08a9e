import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../durable-file.ts';

const VerifiedFile = z.object({
  version: z.literal(1),
  /** Name of the bundle → fingerprint of the directory whose digests were found right. */
  templates: z.record(z.string(), z.string()),
});

/**
 * Which bundles were verified, kept in `<root>/templates-verified.json`: hashing the disk of a macOS template
 * takes minutes, and a daemon that starts again must not hash it again. Only a hint: without the file
 * everything is verified anew. One instance per root, under its lock.
 */
export class VerifiedTemplates {
  readonly #path: string;
  readonly #fingerprints: Map<string, string>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, fingerprints: Map<string, string>) {
    this.#path = path;
    this.#fingerprints = fingerprints;
  }

  static async load(root: string): Promise<VerifiedTemplates> {
    const path = join(root, 'templates-verified.json');
    return new VerifiedTemplates(path, await read(path));
  }

  has(name: string, fingerprint: string): boolean {
    return this.#fingerprints.get(name) === fingerprint;
  }

  /** Remembers; `undefined` forgets. Never rejects: what cannot be written is still known to this process. */
  async remember(name: string, fingerprint: string | undefined): Promise<void> {
    if (this.#fingerprints.get(name) === fingerprint) return;
    if (fingerprint === undefined) this.#fingerprints.delete(name);
    else this.#fingerprints.set(name, fingerprint);
    this.#writing = this.#writing.then(() => this.#write()).catch(() => undefined);
    await this.#writing;
  }

  async #write(): Promise<void> {
    const templates = Object.fromEntries([...this.#fingerprints].sort(([a], [b]) => (a < b ? -1 : 1)));
    await replaceFile(this.#path, `${JSON.stringify({ version: 1, templates }, null, 2)}\n`);
  }
}

async function read(path: string): Promise<Map<string, string>> {
  try {
    return new Map(Object.entries(VerifiedFile.parse(JSON.parse(await readFile(path, 'utf8'))).templates));
  } catch {
    return new Map();
  }
}
