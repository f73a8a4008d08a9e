import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VmError } from '../driver.ts';
import { bundleDigest, type TemplateMetadata } from '../template.ts';
import { anyBootableTemplate, readBootableTemplate } from './template-files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tf-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const digestOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

/** A template whose files hold their own names. */
async function template(
  name: string,
  change: Partial<TemplateMetadata> = {},
  names = ['Disk.img', 'kernel'],
): Promise<string> {
  const dir = join(root, name);
  await mkdir(dir);
  for (const file of names) await writeFile(join(dir, file), file);
  const sealed = names.map((file) => [file, { digest: digestOf(file), size: file.length }]);
  const files: TemplateMetadata['files'] = Object.fromEntries(sealed);
  const metadata: TemplateMetadata = {
    version: 1,
    name,
    os: 'linux',
    arch: 'amd64',
    files,
    digest: bundleDigest(files),
    user: 'runner',
    guestAgent: true,
    kernelArgs: 'quiet',
    diskBytes: 8,
    createdAt: '2026-01-01T00:00:00.000Z',
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
    kernelDigest: digestOf('kernel'),
    initrd: true,
    kernelArgs: 'quiet',
  });
});

test('an initrd and kernel arguments are optional', async () => {
  const dir = await template('t', { kernelArgs: undefined });
  expect(await readBootableTemplate(dir)).toMatchObject({ initrd: false, kernelArgs: '' });
});

test('a template that was sealed without a kernel', async () => {
  expect(await refusal(await template('t', {}, ['Disk.img']))).toBe(
    'template t: has no file kernel, which QEMU boots from',
  );
});

test('a file that went away is named', async () => {
  const dir = await template('t');
  await unlink(join(dir, 'kernel'));
  expect(await refusal(dir)).toContain('template t: kernel: is missing');
});

test.each([{ os: 'macOS' }, { arch: 'arm64' }] as const)(
  'a guest that QEMU is not for: %j',
  async (change) => {
    expect(await refusal(await template('t', change))).toContain('the qemu driver runs linux amd64');
  },
);

test('any template that can boot is found among others; none is no error', async () => {
  expect(await anyBootableTemplate(root)).toBeUndefined();
  expect(await anyBootableTemplate(join(root, 'none'))).toBeUndefined();
  await template('a', { os: 'macOS' });
  await writeFile(join(root, 'b'), 'a file');
  const dir = await template('c');
  expect((await anyBootableTemplate(root))?.dir).toBe(dir);
});
