import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadMachineId, MachineIdError } from './machine-id.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'machine-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('made once, then kept', async () => {
  const first = await loadMachineId(root);
  expect(first).toMatch(/^[0-9a-f-]{36}$/);
  expect(await loadMachineId(root)).toBe(first);
  expect(JSON.parse(await readFile(join(root, 'machine.json'), 'utf8'))).toEqual({
    version: 1,
    machineID: first,
  });
  expect(await readdir(root)).toEqual(['machine.json']);
});

test('two roots are two machines', async () => {
  const other = await mkdtemp(join(tmpdir(), 'machine-'));
  try {
    expect(await loadMachineId(other)).not.toBe(await loadMachineId(root));
  } finally {
    await rm(other, { recursive: true, force: true });
  }
});

test.each(['', '{', '{}', '{"version":2}', '{"version":1,"machineID":"x"}'])(
  'a damaged file %j is refused and left alone',
  async (content) => {
    const path = join(root, 'machine.json');
    await writeFile(path, content);
    const error = await loadMachineId(root).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(MachineIdError);
    expect(String(error)).toContain(path);
    expect(await readFile(path, 'utf8')).toBe(content);
  },
);

test('a root that is not there is an error, not a new machine', async () => {
  await expect(loadMachineId(join(root, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' });
});
