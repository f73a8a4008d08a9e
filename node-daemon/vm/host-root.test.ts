import { chmod, mkdir, mkdtemp, readdir, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundlePaths } from './bundle.ts';
import { checkHostRoot } from './host-root.ts';

let dir: string;
beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'hr-')));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function problem(path: string, free?: number): Promise<string> {
  const check = await checkHostRoot(path, free === undefined ? undefined : async () => free);
  if (check.ok) throw new Error(`${check.root} was accepted`);
  expect(check.problem).not.toContain('\n');
  return check.problem;
}

test('makes a root that is missing, for the daemon alone, and nothing else', async () => {
  const root = join(dir, 'a');
  expect(await checkHostRoot(root)).toEqual({ ok: true, root });
  expect((await readdir(root)).sort()).toEqual(['runners', 'templates']);
  expect(await readdir(join(root, 'runners'))).toEqual([]);
  expect((await stat(join(root, 'runners'))).mode & 0o777).toBe(0o700);
  expect(await checkHostRoot(root)).toEqual({ ok: true, root });
});

test('links are resolved, so that one root has one name', async () => {
  await mkdir(join(dir, 'real'));
  await symlink(join(dir, 'real'), join(dir, 'link'));
  expect(await checkHostRoot(join(dir, 'link'))).toEqual({ ok: true, root: join(dir, 'real') });
});

test.each(['relative/root', '', '.', '~/vms'])('%j is not absolute', async (path) => {
  expect(await problem(path)).toContain('must be an absolute path');
});

test('control characters are refused', async () => {
  expect(await problem('/tmp/a\nb')).toContain('control characters');
});

test('a root is as long as the longest socket path allows, in bytes, and no longer', async () => {
  const longest = (root: string): number =>
    Buffer.byteLength(bundlePaths(root, 'x'.repeat(36), 999).controlSocket);
  const fits = `/${'é'.repeat(16)}`;
  expect(longest(fits)).toBeLessThanOrEqual(103);
  expect(longest(`${fits}ab`)).toBeGreaterThan(103);
  expect(await problem(`${fits}ab`)).toMatch(/has 35 bytes; it must have 34 or fewer/);
  await expect(stat(`${fits}ab`)).rejects.toThrow('ENOENT');
});

test('a link to a path that is too long is refused', async () => {
  const long = join(dir, 'x'.repeat(40));
  await mkdir(long);
  await symlink(long, join(dir, 'l'));
  expect(await problem(join(dir, 'l'))).toContain('or fewer');
});

test('a file is no root', async () => {
  await writeFile(join(dir, 'f'), '');
  expect(await problem(join(dir, 'f'))).toContain('must be a directory');
});

test('without room for a VM an empty root is refused, but one that holds bundles is served', async () => {
  expect(await problem(dir, 100 * 2 ** 20)).toContain('has 100 MiB free');
  await mkdir(bundlePaths(dir, 'u', 1).dir, { recursive: true });
  expect(await checkHostRoot(dir, async () => 0)).toEqual({ ok: true, root: dir });
});

test.skipIf(process.getuid?.() === 0)(
  'a directory that is not writable (root may write anywhere)',
  async () => {
    await chmod(dir, 0o500);
    expect(await problem(join(dir, 'r'))).toContain('must be writable');
  },
);

test.each(['/proc/shoes-vz', '/sys/a/b'])('%s, where nothing can be made', async (path) => {
  expect(await problem(path)).toContain(`host root ${path}`);
});

test('what was made for a root that is refused is gone again', async () => {
  await problem(join(dir, 'a', 'b'), 0);
  expect(await readdir(dir)).toEqual([]);
});
