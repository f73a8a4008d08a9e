import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { memoryDigestCache } from '../../node-daemon/vm/digest-cache.ts';
import { isTemplateProblem, readTemplate, verifyTemplate } from '../../node-daemon/vm/template.ts';
import { sealBundle } from './seal.ts';

let root: string;
let dir: string;
const signal = new AbortController().signal;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'seal-'));
  dir = join(root, 'debian');
  await mkdir(dir);
});
afterEach(async () => {
  await chmod(dir, 0o700);
  await rm(root, { recursive: true, force: true });
});

test('a sealed bundle is a template that verifies, and is read-only', async () => {
  for (const name of ['Disk.img', 'kernel', 'id_ed25519']) await writeFile(join(dir, name), name);
  const facts = {
    name: 'debian',
    os: 'linux',
    arch: 'amd64',
    user: 'runner',
    guestAgent: false,
    diskBytes: 8,
  } as const;
  const metadata = await sealBundle(dir, facts, signal);
  const bundle = await readTemplate(dir);
  if (isTemplateProblem(bundle)) throw new Error(bundle.message);
  expect(bundle.metadata).toEqual(metadata);
  expect(await verifyTemplate(bundle, memoryDigestCache(), signal)).toBe(bundle);
  const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
  expect(await mode(dir)).toBe(0o555);
  expect(await mode(join(dir, 'Disk.img'))).toBe(0o444);
  expect(await mode(join(dir, 'TemplateMetadata.json'))).toBe(0o444);
  expect(await mode(join(dir, 'id_ed25519'))).toBe(0o400);
});
