import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import { unreachable } from './testing/fake-client.ts';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

test('a bundle that is being made is nothing that was left behind', async () => {
  await world.start();
  const { metadata } = world.runners.create('r');
  const goOn = world.holdBack('bundles.create', () => mkdirSync(world.paths(metadata.uid).dir));
  world.runners.bind('r', world.host, DIGEST);
  await world.settle();
  world.hostChanged({});
  await world.settle();
  expect(world.get('r')?.metadata.finalizers).toEqual([finalizerName(world.host.name, 1)]);
  goOn();
  await world.untilReady('r');
});

/** A bundle that nothing can be read of, as a failing disk or an older daemon leaves it. */
function corruptBundle(uid: string, attempt = 1): string {
  const { dir, metadata, disk } = world.paths(uid, attempt);
  mkdirSync(dir);
  writeFileSync(metadata, '{');
  writeFileSync(disk, 'old');
  return dir;
}

describe('a bundle of another attempt', () => {
  test('is destroyed once, however long that takes, before the bound one is made', async () => {
    const { metadata } = world.bound('r');
    world.runners.bind('r', world.host, DIGEST);
    corruptBundle(metadata.uid, 1);
    const purges: string[] = [];
    const goOn = world.holdBack('runtime.purge', () => purges.push('purge'));
    await world.start();
    world.hostChanged({});
    await world.pass(5_000);
    expect(purges).toEqual(['purge']);
    expect(world.onDisk()).toEqual([`${metadata.uid}.1.bundle`]);
    goOn();
    await world.untilReady('r');
    expect(world.onDisk()).toEqual([`${metadata.uid}.2.bundle`]);
    expect(world.get('r')?.metadata.finalizers).toEqual([finalizerName(world.host.name, 2)]);
  });
});

describe('a bundle of which nothing can be read', () => {
  test('is destroyed when no Runner of its UID is bound here', async () => {
    const { metadata } = world.runners.create('r');
    corruptBundle(metadata.uid);
    corruptBundle('uid-of-nobody');
    await world.start();
    await world.pass(1_000);
    expect(world.onDisk()).toEqual([]);
    await world.expectNoLeak();
  });

  test('stays while the API server does not say so', async () => {
    corruptBundle('uid-of-nobody');
    world.client.fail('list', unreachable(), { times: 4 });
    await world.start();
    await world.settle();
    expect(world.onDisk()).toEqual(['uid-of-nobody.1.bundle']);
    await world.pass(60_000);
    expect(world.onDisk()).toEqual([]);
  });

  test('is the end of a Runner whose VM ran', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    await world.kill();
    writeFileSync(world.paths(metadata.uid).metadata, '');
    await world.start();
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('BundleLost');
    await world.untilClean();
  });
});

describe('a bundle that somebody removed while its VM runs', () => {
  test('is the end of the Runner, and of the VM', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    rmSync(world.paths(metadata.uid).dir, { recursive: true });
    world.hostChanged({});
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('BundleLost');
    await world.untilClean();
    world.runners.delete('r');
    await world.expectNoLeak();
  });

  test('leaves no VM behind when the Runner is gone, too', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    rmSync(world.paths(metadata.uid).dir, { recursive: true });
    world.runners.patch('r', { metadata: { finalizers: [] } });
    world.runners.delete('r');
    await world.pass(1_000);
    expect(world.machine.running()).toEqual([]);
    await world.expectNoLeak();
  });

  test('as an earlier attempt is looked for, too, while the host is being deleted', async () => {
    world.guests.sshUp = false;
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilPhase('r', 'Booting');
    await world.kill();
    rmSync(world.paths(metadata.uid).dir, { recursive: true });
    world.runners.bind('r', world.host, DIGEST);
    world.hostChanged({ state: 'deleting' });
    await world.start();
    await world.untilClean();
  });

  test('before its Runner was told of is made anew', async () => {
    world.guests.sshUp = false;
    world.client.fail('patchStatus', unreachable(), { times: 1000 });
    await world.start();
    const { metadata } = world.bound('r');
    await world.settle();
    expect(world.status('r')?.startedAt).toBeUndefined();
    const first = world.machine.vm(world.paths(metadata.uid));
    expect(first).toBeDefined();
    rmSync(world.paths(metadata.uid).dir, { recursive: true });
    world.client.heal();
    world.guests.sshUp = true;
    world.hostChanged({});
    await world.untilReady('r');
    expect(world.machine.vm(world.paths(metadata.uid))?.process).not.toEqual(first?.process);
    expect(world.machine.calls.filter(({ verb }) => verb === 'prepare')).toHaveLength(2);
  });
});

test('a tombstone is read for nothing but its end', async () => {
  await world.start();
  const { metadata } = world.bound('r');
  await world.untilReady('r');
  const goOn = world.holdBack('api.removeFinalizer');
  world.runners.delete('r');
  await world.settle();
  await world.kill();
  goOn();
  expect(world.onDisk()).toEqual([`${metadata.uid}.1.bundle`]);
  world.logs.length = 0;
  await world.start();
  await world.settle();
  expect(world.onDisk()).toEqual([]);
  expect(world.logs.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  await world.expectNoLeak();
});

test('what is no bundle is left alone, and said once', async () => {
  mkdirSync(join(world.root, 'runners', 'lost+found'));
  await world.start();
  await world.pass(60_000);
  expect(world.onDisk()).toEqual(['lost+found']);
  expect(world.logs.map(({ message }) => message)).toEqual(['not a bundle: left alone']);
});

test('a directory that cannot be listed destroys and lets go of nothing', async () => {
  await world.start();
  world.bound('r');
  await world.untilReady('r');
  const runners = join(world.root, 'runners');
  renameSync(runners, `${runners}.away`);
  world.runners.delete('r');
  await world.pass(60_000);
  expect(world.get('r')?.metadata.finalizers).toHaveLength(1);
  expect(world.machine.running()).toHaveLength(1);
  renameSync(`${runners}.away`, runners);
  await world.until('the Runner to be gone', () => world.get('r') === undefined);
  await world.untilClean();
});
