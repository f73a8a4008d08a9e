import { mkdtemp, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { generatedFiles, staleFiles, writeFiles } from './generated-files.ts';

test('the committed files are what the schemas say', async () => {
  expect(await staleFiles(join(import.meta.dirname, 'generated'), generatedFiles())).toEqual([]);
});

test('a changed, a missing and a left-over file are stale until the next writing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'crds-'));
  try {
    const files = generatedFiles();
    expect(await staleFiles(join(directory, 'absent'), files)).toEqual([...files.keys()].sort());
    await writeFiles(directory, files);
    expect(await staleFiles(directory, files)).toEqual([]);
    await writeFile(join(directory, 'runners.yaml'), 'changed');
    await unlink(join(directory, 'templates.yaml'));
    await writeFile(join(directory, 'gadgets.yaml'), 'left over');
    expect(await staleFiles(directory, files)).toEqual(['gadgets.yaml', 'runners.yaml', 'templates.yaml']);
    await writeFiles(directory, files);
    expect((await readdir(directory)).sort()).toEqual([...files.keys()].sort());
  } finally {
    await rm(directory, { recursive: true });
  }
});
