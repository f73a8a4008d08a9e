import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../kube/clock.ts';
import type { Logger } from '../../../kube/log.ts';
import { openDigestCache } from '../../vm/digest-cache.ts';
import {
  bundleDigest,
  TEMPLATE_FILES,
  TEMPLATE_METADATA,
  type TemplateMetadata,
  templateReader,
} from '../../vm/template.ts';
import { TemplateInventory } from './inventory.ts';
import type { TemplateReader } from './judge.ts';

let root: string;
let dir: string;
const open: TemplateInventory[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'inventory-'));
  dir = join(root, 'templates');
  await mkdir(dir);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.stop()));
  await rm(root, { recursive: true, force: true });
});

/** Makes a sealed bundle of one file; `disk` is what lies there, `sealed` what was sealed. */
async function makeBundle(path: string, name: string, disk = `disk of ${name}`, sealed = disk) {
  const digest = `sha256:${createHash('sha256').update(sealed).digest('hex')}`;
  const files = { [TEMPLATE_FILES.disk]: { digest, size: sealed.length } };
  const metadata: TemplateMetadata = {
    version: 1,
    name,
    os: 'linux',
    arch: 'amd64',
    files,
    digest: bundleDigest(files),
    user: 'runner',
    guestAgent: true,
    diskBytes: sealed.length,
    createdAt: '2026-01-01T00:00:00Z',
  };
  await mkdir(path, { recursive: true });
  await writeFile(join(path, TEMPLATE_FILES.disk), disk);
  await writeFile(join(path, TEMPLATE_METADATA), JSON.stringify(metadata));
}

/** Remembers which bundles were looked at. */
async function watchedReader(): Promise<TemplateReader & { looked: string[] }> {
  const reader = templateReader(await openDigestCache(join(root, 'digests.json')));
  const looked: string[] = [];
  return {
    looked,
    read: (path) => {
      looked.push(path);
      return reader.read(path);
    },
    verify: reader.verify,
  };
}

/** Everything on disk looks old to it: nobody waits for a broken bundle to go on arriving. */
const later: Clock = { ...systemClock, now: () => Date.now() + 3_600_000 };

interface Opened {
  readonly inventory: TemplateInventory;
  readonly reader: Awaited<ReturnType<typeof watchedReader>>;
  readonly lines: string[];
  /** Waits until the listing satisfies the test. */
  until(holds: (listing: { names: string[]; broken: string[] }) => boolean): Promise<void>;
}

async function openInventory(clock: Clock = later): Promise<Opened> {
  const lines: string[] = [];
  const line = (_: object, message: string) => void lines.push(message);
  const log: Logger = { debug: line, info: line, warn: line, error: line };
  const reader = await watchedReader();
  const inventory = new TemplateInventory({ dir, reader, clock, log });
  open.push(inventory);
  await inventory.start();
  return {
    inventory,
    reader,
    lines,
    until: (holds) =>
      new Promise((resolve) => {
        const check = () => {
          const { published, problems } = inventory.listing();
          if (!holds({ names: [...published.keys()], broken: [...problems.keys()] })) return;
          stop();
          resolve();
        };
        const stop = inventory.onChange(check);
        check();
      }),
  };
}

const offers =
  (...expected: string[]) =>
  (listing: { names: string[] }) =>
    listing.names.join() === expected.join();

test('bundles that are there, in order of their names', async () => {
  await makeBundle(join(dir, 'b'), 'b');
  await makeBundle(join(dir, 'a'), 'a');
  await makeBundle(join(dir, '.building'), 'c');
  await writeFile(join(dir, 'README'), 'not a bundle');
  const { inventory, until } = await openInventory();
  await until(offers('a', 'b'));
  expect(inventory.listing().published.get('a')).toMatchObject({
    dir: join(dir, 'a'),
    metadata: { name: 'a' },
  });
  expect(inventory.listing().problems.size).toBe(0);
});

test('a sealed bundle renamed into place is offered; one renamed away or removed is not', async () => {
  const { until } = await openInventory();
  await makeBundle(join(dir, '.building'), 'a');
  await rename(join(dir, '.building'), join(dir, 'a'));
  await until(offers('a'));
  await makeBundle(join(root, 'b'), 'b');
  await rename(join(root, 'b'), join(dir, 'b'));
  await until(offers('a', 'b'));
  await rename(join(dir, 'a'), join(root, 'elsewhere'));
  await until(offers('b'));
  await rm(join(dir, 'b'), { recursive: true });
  await until(offers());
});

test('a bundle replaced by another of the same name', async () => {
  await makeBundle(join(dir, 'a'), 'a', 'old');
  const { inventory, until } = await openInventory();
  await until(offers('a'));
  await makeBundle(join(root, 'new'), 'a', 'newer');
  await rename(join(dir, 'a'), join(root, 'old'));
  await rename(join(root, 'new'), join(dir, 'a'));
  await until(() => inventory.listing().published.get('a')?.metadata.diskBytes === 'newer'.length);
});

test('a broken bundle is not offered, says why once, and is offered when it was mended', async () => {
  await makeBundle(join(dir, 'a'), 'a', 'wrong', 'right');
  const { inventory, until, lines } = await openInventory();
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().published.size).toBe(0);
  const problem = inventory.listing().problems.get('a');
  expect(problem).toMatch(/^template a: Disk\.img: is corrupt/);
  expect(lines.filter((line) => line.includes('not offered'))).toEqual([`not offered: ${problem}`]);
  await writeFile(join(dir, 'a', 'Disk.img'), 'right');
  await until(offers('a'));
  expect(inventory.listing().problems.size).toBe(0);
});

test('a bundle whose bytes change is withdrawn', async () => {
  await makeBundle(join(dir, 'a'), 'a');
  const { inventory, until } = await openInventory();
  await until(offers('a'));
  await writeFile(join(dir, 'a', 'Disk.img'), 'disk of b');
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().published.size).toBe(0);
});

test('a bundle under another name than its directory is a problem that says so', async () => {
  await makeBundle(join(dir, 'a'), 'b');
  const { inventory, until } = await openInventory();
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().problems.get('a')).toContain('name is "b", but the directory is "a"');
});

test('a bundle copied file by file is not judged halfway', async () => {
  const { inventory, reader, until, lines } = await openInventory(systemClock);
  await makeBundle(join(root, 'source'), 'a');
  await mkdir(join(dir, 'a'));
  await cp(join(root, 'source', 'TemplateMetadata.json'), join(dir, 'a', 'TemplateMetadata.json'));
  await expect.poll(() => reader.looked).toContain(join(dir, 'a'));
  expect(inventory.listing()).toEqual({ published: new Map(), problems: new Map() });
  await cp(join(root, 'source', 'Disk.img'), join(dir, 'a', 'Disk.img'));
  await until(offers('a'));
  expect(lines.filter((line) => line.includes('not offered'))).toEqual([]);
});

test('a templates directory that appears later, or is replaced, is followed', async () => {
  await rm(dir, { recursive: true });
  const { until } = await openInventory();
  await makeBundle(join(dir, 'a'), 'a');
  await until(offers('a'));
  await rename(dir, join(root, 'old'));
  await until(offers());
  await makeBundle(join(root, 'next', 'b'), 'b');
  await rename(join(root, 'next'), dir);
  await until(offers('b'));
});
