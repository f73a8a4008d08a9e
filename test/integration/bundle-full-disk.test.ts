import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { BundleStore } from '../../node-daemon/vm/bundle.ts';

const run = promisify(execFile);

test('a bundle is purged on a disk that has no room for another file', async (context) => {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') return context.skip('mounting needs root');
  const root = await mkdtemp(join(tmpdir(), 'f-'));
  // Room for itself, runners/, the bundle and two files.
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64k,nr_inodes=5', 'tmpfs', root]);
  onTestFinished(async () => {
    await run('umount', [root]);
    await rm(root, { recursive: true });
  });
  await mkdir(join(root, 'runners'));
  const store = new BundleStore(root);
  const bundle = await store.create({
    identity: { uid: 'u', attempt: 1, hostUid: 'h' },
    runner: { namespace: 'n', name: 'r' },
    template: { name: 't', digest: '' },
    createdAt: 1,
  });
  await writeFile(join(root, 'ballast'), '');
  await expect(store.update(bundle, { cloneMs: 1 })).rejects.toThrow('ENOSPC');
  await store.purgeFiles(bundle, 2);
  const view = await store.view(bundle);
  expect(view).toMatchObject({ purged: true, metadata: { metadata: { tombstone: { purgedAt: 2 } } } });
  await store.removeTombstone(bundle);
  expect(await store.view(bundle)).toBeUndefined();
});
