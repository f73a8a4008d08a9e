import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../kube/clock.ts';
import type { Logger } from '../../log.ts';
import type { TemplateMetadata } from '../../vm/template.ts';
import { TemplateInventory } from './inventory.ts';
import type { TemplateReader } from './judge.ts';
import { VerifiedTemplates } from './verified.ts';

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

const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

/** A bundle of one file, in the least that {@link reader} understands. */
async function makeBundle(path: string, name: string, disk = `disk of ${name}`, digest = sha256(disk)) {
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'Disk.img'), disk);
  await writeFile(
    join(path, 'TemplateMetadata.json'),
    JSON.stringify({ name, digest: `sha256:${digest}`, os: 'linux', arch: 'amd64' }),
  );
}

/** Remembers which bundles were looked at, and whose bytes were read. */
function countingReader(): TemplateReader & { looked: string[]; verified: string[] } {
  const looked: string[] = [];
  const verified: string[] = [];
  return {
    looked,
    verified,
    read: async (path) => {
      looked.push(path);
      await stat(join(path, 'Disk.img'));
      return JSON.parse(await readFile(join(path, 'TemplateMetadata.json'), 'utf8')) as TemplateMetadata;
    },
    verify: async (path, metadata) => {
      verified.push(metadata.name);
      if (sha256(await readFile(join(path, 'Disk.img'))) !== metadata.digest.slice(7)) {
        throw new Error('Disk.img: its digest is not the one in TemplateMetadata.json');
      }
    },
  };
}

/** Everything on disk looks old to it: nobody waits for a broken bundle to go on arriving. */
const later: Clock = { ...systemClock, now: () => Date.now() + 3_600_000 };

interface Opened {
  readonly inventory: TemplateInventory;
  readonly reader: ReturnType<typeof countingReader>;
  readonly lines: string[];
  /** Waits until the listing satisfies the test. */
  until(holds: (listing: { names: string[]; broken: string[] }) => boolean): Promise<void>;
}

async function openInventory(clock: Clock = later): Promise<Opened> {
  const lines: string[] = [];
  const line = (_: object, message: string) => void lines.push(message);
  const log: Logger = { debug: line, info: line, warn: line, error: line, child: () => log };
  const reader = countingReader();
  const verified = await VerifiedTemplates.load(root);
  const inventory = new TemplateInventory({ dir, reader, verified, clock, log });
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
  await makeBundle(join(root, 'new'), 'a', 'new');
  await rename(join(dir, 'a'), join(root, 'old'));
  await rename(join(root, 'new'), join(dir, 'a'));
  await until(() => inventory.listing().published.get('a')?.metadata.digest === `sha256:${sha256('new')}`);
});

test('a broken bundle is not offered, says why once, and is offered when it was mended', async () => {
  await makeBundle(join(dir, 'a'), 'a', 'disk', sha256('other'));
  const { inventory, until, lines } = await openInventory();
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().published.size).toBe(0);
  expect(inventory.listing().problems.get('a')).toMatch(/^Disk\.img: its digest/);
  expect(lines.filter((line) => line.includes('not offered'))).toEqual([
    `${join(dir, 'a')}: the template is not offered: Disk.img: its digest is not the one in TemplateMetadata.json`,
  ]);
  await writeFile(join(dir, 'a', 'Disk.img'), 'other');
  await until(offers('a'));
  expect(inventory.listing().problems.size).toBe(0);
});

test('a bundle whose bytes change is withdrawn', async () => {
  await makeBundle(join(dir, 'a'), 'a');
  const { inventory, until } = await openInventory();
  await until(offers('a'));
  await writeFile(join(dir, 'a', 'Disk.img'), 'corrupt');
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().published.size).toBe(0);
});

test('a bundle under another name than its directory is a problem that says so', async () => {
  await makeBundle(join(dir, 'a'), 'b');
  const { inventory, until } = await openInventory();
  await until(({ broken }) => broken.includes('a'));
  expect(inventory.listing().problems.get('a')).toContain('name is "b", but the directory is "a"');
});

test('a bundle that no host could offer is a problem that names the field', async () => {
  await makeBundle(join(dir, 'My_Mac'), 'My_Mac');
  const { inventory, until } = await openInventory();
  await until(({ broken }) => broken.includes('My_Mac'));
  expect(inventory.listing().problems.get('My_Mac')).toMatch(/^TemplateMetadata\.json: name: /);
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

test('digests are not computed again after a restart, unless the bundle changed meanwhile', async () => {
  await makeBundle(join(dir, 'a'), 'a');
  await makeBundle(join(dir, 'b'), 'b');
  const first = await openInventory();
  await first.until(offers('a', 'b'));
  expect(first.reader.verified.sort()).toEqual(['a', 'b']);
  await first.inventory.stop();
  await writeFile(join(dir, 'b', 'Disk.img'), 'disk of b');
  const second = await openInventory();
  await second.until(offers('a', 'b'));
  expect(second.reader.verified).toEqual(['b']);
});

test('a damaged memory of what was verified costs a hash and nothing else', async () => {
  await makeBundle(join(dir, 'a'), 'a');
  await writeFile(join(root, 'templates-verified.json'), '{"version":1,"templates":');
  const { reader, until } = await openInventory();
  await until(offers('a'));
  expect(reader.verified).toEqual(['a']);
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
