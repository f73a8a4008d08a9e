import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DigestCache, memoryDigestCache, openDigestCache } from './digest-cache.ts';
import {
  bundleDigest,
  readTemplate,
  type TemplateMetadata,
  templateReader,
  verifyTemplate,
} from './template.ts';

let root: string;
let dir: string;
const signal = new AbortController().signal;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tpl-'));
  dir = join(root, 'debian');
  await mkdir(dir);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

async function writeBundle(change: Partial<Record<keyof TemplateMetadata, unknown>> = {}): Promise<void> {
  const contents = { 'Disk.img': 'disk', kernel: 'kernel' };
  const files: Record<string, { digest: string; size: number }> = {};
  for (const [name, text] of Object.entries(contents)) {
    await writeFile(join(dir, name), text);
    files[name] = { digest: sha256(text), size: text.length };
  }
  const metadata = {
    version: 1,
    name: 'debian',
    os: 'linux',
    arch: 'amd64',
    files,
    digest: bundleDigest(files),
    user: 'runner',
    guestAgent: true,
    diskBytes: 4,
    createdAt: '2026-01-01T00:00:00.000Z',
  } satisfies TemplateMetadata;
  await writeFile(join(dir, 'TemplateMetadata.json'), JSON.stringify({ ...metadata, ...change }));
}

describe('readTemplate', () => {
  test('returns the metadata of a whole bundle', async () => {
    await writeBundle();
    expect(await readTemplate(dir)).toMatchObject({ dir, metadata: { name: 'debian', diskBytes: 4 } });
  });

  test.each([
    ['no metadata', async () => rm(join(dir, 'TemplateMetadata.json')), 'TemplateMetadata.json: is missing'],
    [
      'text',
      async () => writeFile(join(dir, 'TemplateMetadata.json'), '{'),
      'TemplateMetadata.json: is not JSON',
    ],
    ['a missing file', async () => rm(join(dir, 'kernel')), 'kernel: is missing'],
    ['a cut file', async () => writeFile(join(dir, 'kernel'), 'ker'), 'kernel: has 3 bytes instead of 6'],
    [
      'a directory for a file',
      async () => {
        await rm(join(dir, 'kernel'));
        await mkdir(join(dir, 'kernel'));
      },
      'kernel: is not a regular file',
    ],
    ['another version', async () => writeBundle({ version: 2 }), 'TemplateMetadata.json: version: '],
    [
      'a wrong digest',
      async () => writeBundle({ digest: sha256('x') }),
      'its digest does not fit its list of files',
    ],
    [
      'a path for a file name',
      async () => writeBundle({ files: { '../x': { digest: sha256(''), size: 0 } } }),
      'TemplateMetadata.json: files.../x: ',
    ],
    ['no disk', async () => writeBundle({ files: {} }), 'TemplateMetadata.json: files: must name Disk.img'],
  ])('says in one line what is wrong: %s', async (_, damage, expected) => {
    await writeBundle();
    await damage();
    const result = await readTemplate(dir);
    expect(result).toHaveProperty('message');
    const message = 'message' in result ? result.message : '';
    expect(message).toContain(expected);
    expect(message).toMatch(/^template debian: [^\n]+; build or copy the template again$/);
  });
});

describe('verifyTemplate', () => {
  test('finds a file of the right size with other bytes', async () => {
    await writeBundle();
    await writeFile(join(dir, 'kernel'), 'KERNEL');
    const reader = templateReader(memoryDigestCache());
    const metadata = await reader.read(dir);
    await expect(reader.verify(dir, metadata, signal)).rejects.toThrow(
      'template debian: kernel: is corrupt: its digest is not the one in TemplateMetadata.json',
    );
  });

  test('does not read again what has not changed, across processes', async () => {
    await writeBundle();
    const cacheFile = join(root, 'digests.json');
    const bundle = await readTemplate(dir);
    if ('message' in bundle) throw new Error(bundle.message);
    await verifyTemplate(bundle, await openDigestCache(cacheFile), signal);
    const { cache, computed } = counting(await openDigestCache(cacheFile));
    expect(await verifyTemplate(bundle, cache, signal)).toBe(bundle);
    expect(computed()).toBe(0);
  });

  test('reads again what changed, even where size and mtime were put back', async () => {
    await writeBundle();
    const bundle = await readTemplate(dir);
    if ('message' in bundle) throw new Error(bundle.message);
    const cache = memoryDigestCache();
    const then = new Date('2026-01-01T00:00:00Z');
    await utimes(join(dir, 'kernel'), then, then);
    await verifyTemplate(bundle, cache, signal);
    await writeFile(join(dir, 'kernel'), 'KERNEL');
    await utimes(join(dir, 'kernel'), then, then);
    expect(await verifyTemplate(bundle, cache, signal)).toMatchObject({ file: 'kernel' });
  });

  test('takes a damaged cache for an empty one', async () => {
    await writeBundle();
    const cacheFile = join(root, 'digests.json');
    await writeFile(cacheFile, '{"version":1,"files":[');
    const bundle = await readTemplate(dir);
    if ('message' in bundle) throw new Error(bundle.message);
    expect(await verifyTemplate(bundle, await openDigestCache(cacheFile), signal)).toBe(bundle);
  });
});

/** Counts the digests that had to be computed. */
function counting(inner: DigestCache): { cache: DigestCache; computed: () => number } {
  let computed = 0;
  const cache: DigestCache = {
    get: (path, fingerprint) => inner.get(path, fingerprint),
    set: async (path, fingerprint, digest) => {
      computed += 1;
      await inner.set(path, fingerprint, digest);
    },
  };
  return { cache, computed: () => computed };
}
