import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { inputsDigest } from './inputs.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'inputs-'));
  await mkdir(join(dir, 'src', 'linux'), { recursive: true });
  await writeFile(join(dir, 'src', 'agent.ts'), 'agent');
  await writeFile(join(dir, 'src', 'linux', 'init'), 'init');
  await writeFile(join(dir, 'node'), 'node');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const digest = (facts = {}): Promise<string> =>
  inputsDigest({
    sourceDirs: [join(dir, 'src')],
    node: join(dir, 'node'),
    facts: { arch: 'amd64', ...facts },
  });

test('stays the same while nothing changes, wherever the sources lie', async () => {
  const before = await digest();
  expect(await digest()).toBe(before);
  await rename(join(dir, 'src'), join(dir, 'moved'));
  const moved = await inputsDigest({
    sourceDirs: [join(dir, 'moved')],
    node: join(dir, 'node'),
    facts: { arch: 'amd64' },
  });
  expect(moved).toBe(before);
});

test.each([
  ['the content of a file', () => writeFile(join(dir, 'src', 'linux', 'init'), 'init2')],
  ['the name of a file', () => rename(join(dir, 'src', 'agent.ts'), join(dir, 'src', 'agent2.ts'))],
  ['whether a file is a program', () => chmod(join(dir, 'src', 'linux', 'init'), 0o755)],
  ['a new file', () => writeFile(join(dir, 'src', 'more'), '')],
  ['another Node.js', () => writeFile(join(dir, 'node'), 'node 2')],
])('changes with %s', async (_, change) => {
  const before = await digest();
  await change();
  expect(await digest()).not.toBe(before);
});

test('changes with a fact and not with a test', async () => {
  const before = await digest();
  expect(await digest({ arch: 'arm64' })).not.toBe(before);
  await writeFile(join(dir, 'src', 'agent.test.ts'), 'test');
  expect(await digest()).toBe(before);
});
