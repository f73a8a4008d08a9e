import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BundleOrigin, BundleStore, bundlePaths, listBundles, parseBundleName } from './bundle.ts';

const UID = '7e2a2f0c-5d53-4f4e-9a52-0a3c3f6d1f10';

function origin(attempt = 1, hostUid = 'host-a'): BundleOrigin {
  return {
    identity: { uid: UID, attempt, hostUid },
    runner: { namespace: 'default', name: 'r' },
    template: { name: 'debian-12', digest: 'sha256:0' },
    createdAt: 1,
  };
}

let root: string;
let store: BundleStore;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sv-'));
  await mkdir(join(root, 'runners'));
  store = new BundleStore(root);
});
afterEach(() => rm(root, { recursive: true, force: true }));

describe('names', () => {
  test('what bundlePaths makes, parseBundleName reads back', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.integer({ min: 1, max: 999 }), (uid, attempt) => {
        const { dir } = bundlePaths('/r', uid, attempt);
        expect(parseBundleName(dir.slice('/r/runners/'.length))).toEqual({ uid, attempt });
      }),
    );
  });

  test.each(['../x', 'a/b', '', 'a.b', 'x'.repeat(37), 'a,b'])('a UID %j makes no path', (uid) => {
    expect(() => bundlePaths('/r', uid, 1)).toThrow('not a bundle name');
  });

  test.each([0, -1, 1.5, Number.NaN, 1000])('an attempt %d makes no path', (attempt) => {
    expect(() => bundlePaths('/r', UID, attempt)).toThrow('not a bundle name');
  });

  test.each(['x.01.bundle', 'x.1.bundle.old', 'x.bundle', '.1.bundle', 'x.1', 'x.1.bundle\n'])(
    '%j is no bundle',
    (name) => {
      expect(parseBundleName(name)).toBeUndefined();
    },
  );
});

describe('listing', () => {
  test('tells bundles from what is not ours', async () => {
    await store.create(origin());
    await mkdir(join(root, 'runners', 'lost+found'));
    await writeFile(join(root, 'runners', `${UID}.2.bundle`), 'a file');
    await symlink('/tmp', join(root, 'runners', `${UID}.3.bundle`));
    const listing = await listBundles(root);
    expect(listing.bundles).toEqual([bundlePaths(root, UID, 1)]);
    expect([...listing.unknown].sort()).toEqual([`${UID}.2.bundle`, `${UID}.3.bundle`, 'lost+found']);
  });

  test('a directory that is not there is unknown, not empty', async () => {
    await expect(listBundles(join(root, 'elsewhere'))).rejects.toThrow('ENOENT');
  });
});

describe('metadata', () => {
  test('create is idempotent, keeps what was recorded, and is private', async () => {
    const bundle = await store.create(origin());
    await store.update(bundle, { sshReadyAt: 7 });
    await store.create(origin());
    const view = await store.view(bundle);
    expect(view).toEqual({
      metadata: { state: 'present', metadata: { version: 1, ...origin(), sshReadyAt: 7 } },
      purged: false,
    });
    expect((await stat(bundle.dir)).mode & 0o777).toBe(0o700);
    expect((await stat(bundle.metadata)).mode & 0o777).toBe(0o600);
  });

  test('create refuses a bundle of another host object', async () => {
    await store.create(origin());
    await expect(store.create(origin(1, 'host-b'))).rejects.toThrow('belongs to the host object host-a');
  });

  test('create goes on where a crash left an empty directory', async () => {
    const bundle = store.paths(UID, 1);
    await mkdir(bundle.dir);
    await store.create(origin());
    expect((await store.view(bundle))?.metadata.state).toBe('present');
  });

  test('concurrent updates lose nothing and leave no temporary file', async () => {
    const bundle = await store.create(origin());
    await Promise.all([
      store.update(bundle, { cloneMs: 5 }),
      store.update(bundle, { sshReadyAt: 7 }),
      store.update(bundle, { startReturnedAt: 6 }),
    ]);
    const view = await store.view(bundle);
    expect(view?.metadata).toMatchObject({ metadata: { cloneMs: 5, sshReadyAt: 7, startReturnedAt: 6 } });
    expect(await readdir(bundle.dir)).toEqual(['RuntimeMetadata.json']);
  });

  test('an invalid update is refused, changes nothing and does not stop the next one', async () => {
    const bundle = await store.create(origin());
    const refused = store.update(bundle, { cloneMs: Number.NaN });
    const next = store.update(bundle, { sshReadyAt: 7 });
    await expect(refused).rejects.toThrow('cloneMs');
    expect(await next).toEqual({ version: 1, ...origin(), sshReadyAt: 7 });
  });

  test('undefined removes a field', async () => {
    const bundle = await store.create(origin());
    await store.update(bundle, { cloneMs: 5 });
    await store.update(bundle, { cloneMs: undefined });
    const view = await store.view(bundle);
    expect(view?.metadata).toEqual({ state: 'present', metadata: { version: 1, ...origin() } });
  });

  test.each([
    ['half a file', '{"version":1,"ident'],
    ['another version', JSON.stringify({ version: 2, ...origin() })],
    ['a missing field', JSON.stringify({ version: 1, identity: origin().identity })],
    ['nothing', ''],
  ])('%s is corrupt, which is a value', async (_, text) => {
    const bundle = await store.create(origin());
    await writeFile(bundle.metadata, text);
    expect((await store.view(bundle))?.metadata.state).toBe('corrupt');
    await expect(store.create(origin())).rejects.toThrow('RuntimeMetadata.json');
    await expect(store.update(bundle, { cloneMs: 1 })).rejects.toThrow('RuntimeMetadata.json');
  });
});

describe('purging', () => {
  test('leaves a tombstone that keeps the outcome, then nothing', async () => {
    const bundle = await store.create(origin());
    const outcome = { phase: 'Finished', reason: 'JobFinished', message: '', at: 9 } as const;
    await store.update(bundle, { outcome });
    await writeFile(bundle.disk, 'disk');
    await writeFile(bundle.privateKey, 'key');
    await mkdir(join(bundle.dir, 'more'));
    await store.purgeFiles(bundle, 10);
    await store.purgeFiles(bundle, 11);
    expect(await readdir(bundle.dir)).toEqual(['RuntimeMetadata.json']);
    const view = await store.view(bundle);
    expect(view?.purged).toBe(true);
    expect(view?.metadata).toMatchObject({ metadata: { outcome, tombstone: { purgedAt: 10 } } });
    await store.removeTombstone(bundle);
    await store.removeTombstone(bundle);
    expect(await store.view(bundle)).toBeUndefined();
    expect(await readdir(join(root, 'runners'))).toEqual([]);
  });

  test('a bundle that was not purged is not removed', async () => {
    const bundle = await store.create(origin());
    await expect(store.removeTombstone(bundle)).rejects.toThrow('was not purged');
    expect((await store.view(bundle))?.metadata.state).toBe('present');
  });

  test('a bundle with corrupt metadata is purged all the same', async () => {
    const bundle = await store.create(origin());
    await writeFile(bundle.metadata, 'x');
    await writeFile(bundle.disk, 'disk');
    expect((await store.view(bundle))?.purged).toBe(false);
    await store.purgeFiles(bundle, 1);
    expect((await store.view(bundle))?.purged).toBe(true);
    await store.removeTombstone(bundle);
    expect(await store.view(bundle)).toBeUndefined();
  });

  test('what never existed is purged', async () => {
    await store.purgeFiles(store.paths(UID, 4), 1);
    await store.removeTombstone(store.paths(UID, 4));
    expect(await readdir(join(root, 'runners'))).toEqual([]);
  });

  test('links are removed, not followed', async () => {
    const bundle = await store.create(origin());
    const outside = join(root, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'kept'), '');
    await symlink(outside, join(bundle.dir, 'link'));
    await store.purgeFiles(bundle, 1);
    expect(await readdir(outside)).toEqual(['kept']);
  });
});
