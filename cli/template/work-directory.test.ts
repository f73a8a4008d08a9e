import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clearWorkDirectories, publish, withWorkDirectory } from './work-directory.ts';

let out: string;
beforeEach(async () => {
  out = await mkdtemp(join(tmpdir(), 'out-'));
});
afterEach(async () => {
  for (const name of await readdir(out)) await chmod(join(out, name), 0o700);
  await rm(out, { recursive: true, force: true });
});

/** Builds a sealed template that holds one text. */
const build = (text: string): Promise<void> =>
  withWorkDirectory(out, 'debian', async ({ scratch, bundle }) => {
    await writeFile(join(scratch, 'leftover'), '');
    await writeFile(join(bundle, 'Disk.img'), text);
    await chmod(bundle, 0o555);
    await publish(bundle, join(out, 'debian'));
  });

test('publishes a bundle, replaces it by the next one, and leaves nothing else', async () => {
  await build('first');
  await build('second');
  expect(await readdir(out)).toEqual(['debian']);
  expect(await readFile(join(out, 'debian', 'Disk.img'), 'utf8')).toBe('second');
});

test('leaves nothing of a build that fails, and what was there before', async () => {
  await build('first');
  const failing = withWorkDirectory(out, 'debian', async ({ bundle }) => {
    await writeFile(join(bundle, 'Disk.img'), 'half');
    await chmod(bundle, 0o555);
    throw new Error('no room');
  });
  await expect(failing).rejects.toThrow('no room');
  expect(await readdir(out)).toEqual(['debian']);
  expect(await readFile(join(out, 'debian', 'Disk.img'), 'utf8')).toBe('first');
});

test('clears what killed builds of the same template left, and no other', async () => {
  for (const name of [
    '.build-debian.aaaaaa',
    '.build-debian.aaaaaa.bundle',
    '.build-debian.old',
    '.build-debian2.b',
    'debian',
  ]) {
    await mkdir(join(out, name));
    await writeFile(join(out, name, 'file'), '');
    await chmod(join(out, name), 0o555);
  }
  await clearWorkDirectories(out, 'debian');
  expect((await readdir(out)).sort()).toEqual(['.build-debian2.b', 'debian']);
});
