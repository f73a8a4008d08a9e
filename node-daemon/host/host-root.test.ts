import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostRootError, openHostRoot } from './host-root.ts';
import { MachineIdError } from './machine-id.ts';
import { RootLockedError } from './root-lock.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'root-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('a root is made, owned, and given back', async () => {
  const path = join(directory, 'vz');
  const root = await openHostRoot(path);
  expect((await readdir(path)).sort()).toEqual(
    ['daemon.lock', 'daemon.pid', 'machine.json', 'runners', 'templates'].sort(),
  );
  await expect(openHostRoot(path)).rejects.toBeInstanceOf(RootLockedError);
  await root.release();
  const again = await openHostRoot(path);
  expect(again.machineId).toBe(root.machineId);
  await again.release();
});

test('a directory where VMs cannot be kept is one line that names the flag', async () => {
  const error = await openHostRoot(join(directory, 'x'.repeat(120))).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(HostRootError);
  expect(String(error)).toMatch(/--host-root: .* must have \d+ or fewer/);
  expect(await readdir(directory)).toEqual([]);
});

test('a damaged identity leaves the root unlocked', async () => {
  await writeFile(join(directory, 'machine.json'), 'x');
  await expect(openHostRoot(directory)).rejects.toBeInstanceOf(MachineIdError);
  await rm(join(directory, 'machine.json'));
  const root = await openHostRoot(directory);
  await root.release();
});

test('what a crash left of a write is taken over by the next', async () => {
  await writeFile(join(directory, 'machine.json.tmp'), '{"version":1,"mach');
  const root = await openHostRoot(directory);
  expect(await readdir(directory)).not.toContain('machine.json.tmp');
  await root.release();
});
