import { mkdir, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VmError } from '../driver.ts';
import { anyBootableTemplate, readBootableTemplate } from './template-files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tf-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A template whose files hold their own names. */
async function template(name: string, change: Record<string, unknown> = {}, files = ['Disk.img', 'kernel']) {
  const dir = join(root, name);
  await mkdir(dir);
  for (const file of files) await writeFile(join(dir, file), file);
  const sealed = files.map((file) => [file, { digest: `sha256:${file}`, size: file.length }]);
  const metadata = {
    version: 1,
    os: 'linux',
    arch: 'amd64',
    kernelArgs: 'quiet',
    files: Object.fromEntries(sealed),
    ...change,
  };
  await writeFile(join(dir, 'TemplateMetadata.json'), JSON.stringify(metadata));
  return dir;
}

async function refusal(dir: string): Promise<string> {
  const error = await readBootableTemplate(dir).catch((reason: unknown) => reason);
  if (!(error instanceof VmError)) throw new Error(`not refused with a VmError: ${String(error)}`);
  expect(error.reason).toBe('TemplateMissing');
  expect(error.message).not.toContain('\n');
  return error.message;
}

test('tells what QEMU boots', async () => {
  const dir = await template('t', {}, ['Disk.img', 'kernel', 'initrd']);
  expect(await readBootableTemplate(dir)).toEqual({
    dir,
    disk: join(dir, 'Disk.img'),
    kernel: join(dir, 'kernel'),
    kernelDigest: 'sha256:kernel',
    initrd: true,
    kernelArgs: 'quiet',
  });
});

test('an initrd and kernel arguments are optional', async () => {
  const dir = await template('t', { kernelArgs: undefined });
  expect(await readBootableTemplate(dir)).toMatchObject({ initrd: false, kernelArgs: '' });
});

test.each(['Disk.img', 'kernel'])('a template sealed without %s', async (file) => {
  const dir = await template(
    't',
    {},
    ['Disk.img', 'kernel'].filter((name) => name !== file),
  );
  expect(await refusal(dir)).toContain(`has no ${file}`);
});

test('a file that went away, or was cut, is named', async () => {
  const dir = await template('t');
  await writeFile(join(dir, 'kernel'), 'ker');
  expect(await refusal(dir)).toBe(`template file ${join(dir, 'kernel')} has 3 bytes, 6 were sealed`);
  await unlink(join(dir, 'kernel'));
  expect(await refusal(dir)).toBe(`template file ${join(dir, 'kernel')} is missing`);
});

test('metadata that is missing or not metadata', async () => {
  const dir = await template('t');
  await writeFile(join(dir, 'TemplateMetadata.json'), '{');
  expect(await refusal(dir)).toContain('TemplateMetadata.json is not the metadata of a sealed template');
  expect(await refusal(join(root, 'none'))).toContain('TemplateMetadata.json is missing');
});

test.each([{ os: 'macOS' }, { arch: 'arm64' }])('a guest that QEMU is not for: %j', async (change) => {
  expect(await refusal(await template('t', change))).toContain('the qemu driver runs linux amd64');
});

test('any template that can boot is found among others; none is no error', async () => {
  expect(await anyBootableTemplate(root)).toBeUndefined();
  expect(await anyBootableTemplate(join(root, 'none'))).toBeUndefined();
  await template('a', { os: 'macOS' });
  await writeFile(join(root, 'b'), 'a file');
  const dir = await template('c');
  expect((await anyBootableTemplate(root))?.dir).toBe(dir);
});
