import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Everything of ours that a template is made from. */
export interface TemplateInputs {
  /** Directories of our sources; tests do not count. */
  readonly sourceDirs: readonly string[];
  /** The Node.js program that the guest gets. */
  readonly node: string;
  readonly facts: Readonly<Record<string, string | number | boolean>>;
}

/**
 * Digest of the inputs. Versions of Debian packages are left out on purpose: an unchanged checkout finds its
 * template again without asking the network, also after Debian published an update.
 */
export async function inputsDigest({ sourceDirs, node, facts }: TemplateInputs): Promise<string> {
  const hash = createHash('sha256');
  for (const dir of sourceDirs) {
    for (const entry of (await readdir(dir, { recursive: true, withFileTypes: true })).sort(byPath)) {
      if (!entry.isFile() || entry.name.endsWith('.test.ts')) continue;
      const path = join(entry.parentPath, entry.name);
      const { mode } = await stat(path);
      hash
        .update(`${path.slice(dir.length)} ${mode & 0o100} `)
        .update(await readFile(path))
        .update('\0');
    }
  }
  const binary = await stat(node);
  hash.update(`node ${binary.size}\0`);
  for (const [name, value] of Object.entries(facts).sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}=${value}\0`);
  }
  return `sha256:${hash.digest('hex')}`;
}

function byPath(a: { parentPath: string; name: string }, b: { parentPath: string; name: string }): number {
  return join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1;
}
