import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recallUp, rememberUp } from './up-file.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'svz-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('the host of the last up is remembered, and forgotten', async () => {
  expect(await recallUp(dir)).toBeUndefined();
  expect(await recallUp(join(dir, 'missing'))).toBeUndefined();
  await rememberUp(dir, { hostRoot: '/r', hostName: 'h' });
  expect(await recallUp(dir)).toEqual({ hostRoot: '/r', hostName: 'h' });
  await rememberUp(dir, undefined);
  expect(await recallUp(dir)).toBeUndefined();
  expect(await readdir(dir)).toEqual([]);
});

test.each(['', '{', '[]', '{"hostRoot":"/r"}', '{"hostRoot":1,"hostName":"h"}'])(
  'the damaged file %o is named, with a way out',
  async (text) => {
    await writeFile(join(dir, 'up.json'), text);
    await expect(recallUp(dir)).rejects.toMatchObject({
      name: 'CliError',
      message: `${join(dir, 'up.json')} is damaged; remove it, and run up with the --host-root and --host-name of last time`,
    });
  },
);
