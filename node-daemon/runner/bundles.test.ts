import { mkdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
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
