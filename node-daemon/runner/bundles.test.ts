import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
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
