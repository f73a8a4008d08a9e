import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { buildLinuxTemplate } from '../../cli/template/build.ts';
import { memoryDigestCache } from '../../node-daemon/vm/digest-cache.ts';
import { isTemplateProblem, readTemplate, verifyTemplate } from '../../node-daemon/vm/template.ts';

const TEMPLATES = inject('templatesDir');

let dir: string;
let out: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tpl-'));
  out = join(dir, 'templates');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true, force: true });
});

test.each(['debian', 'debian-plain'])('the template %s is whole', async (name) => {
  const bundle = await readTemplate(join(TEMPLATES, name));
  if (isTemplateProblem(bundle)) throw new Error(bundle.message);
  const { signal } = new AbortController();
  expect(await verifyTemplate(bundle, memoryDigestCache(), signal)).toBe(bundle);
  const hasAgent = name === 'debian';
  expect(bundle.metadata).toMatchObject({ name, os: 'linux', user: 'runner', guestAgent: hasAgent });
  expect('id_ed25519' in bundle.metadata.files).toBe(!hasAgent);
  expect(bundle.metadata.hostKey === undefined).toBe(hasAgent);
});

test('a template of the same inputs is not built again', async () => {
  const lines: string[] = [];
  const metadata = await buildLinuxTemplate({
    name: 'debian',
    out: TEMPLATES,
    log: (line) => void lines.push(line),
    signal: new AbortController().signal,
  });
  expect(metadata).toEqual(
    JSON.parse(await readFile(join(TEMPLATES, 'debian', 'TemplateMetadata.json'), 'utf8')),
  );
  expect(lines).toEqual([]);
});

test('a build that is stopped leaves nothing behind', async () => {
  const controller = new AbortController();
  const stopInTheMiddle = (line: string): void => {
    if (line.startsWith('unpacking')) controller.abort(new Error('stopped by the user'));
  };
  const { signal } = controller;
  await expect(buildLinuxTemplate({ name: 'debian', out, log: stopInTheMiddle, signal })).rejects.toThrow(
    'stopped by the user',
  );
  expect(await readdir(out)).toEqual([]);
});

test('a missing program is named, with the package that brings it', async () => {
  const bin = join(dir, 'bin');
  await mkdir(bin);
  for (const program of ['apt-get', 'apt-cache', 'dpkg'])
    await symlink(`/usr/bin/${program}`, join(bin, program));
  vi.stubEnv('PATH', bin);
  const { signal } = new AbortController();
  await expect(
    buildLinuxTemplate({ name: 'debian', out, log: () => undefined, signal }),
  ).rejects.toMatchObject({
    name: 'TemplateBuildError',
    message: 'fakeroot is not installed; on Debian: apt-get install fakeroot',
  });
  expect(await readdir(out)).toEqual([]);
});
