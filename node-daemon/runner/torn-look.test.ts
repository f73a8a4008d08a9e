import { expect, test, vi } from 'vitest';
import { BundleStore } from '../vm/bundle.ts';
import { World } from './testing/world.ts';

test('a VM whose launch ends while its Runner is looked at is not destroyed for what the look missed', async () => {
  const world = await World.open();
  const launch = world.holdBack('api.template');
  await world.start();
  const { metadata } = world.bound('r');
  await world.settle();
  const real = BundleStore.prototype.list;
  const { promise: told, resolve: tell } = Promise.withResolvers<void>();
  const slow = vi.spyOn(BundleStore.prototype, 'list').mockImplementationOnce(async function (
    this: BundleStore,
  ) {
    const before = await real.call(this);
    await told;
    return before;
  });
  world.hanging.add('bundles.list');
  world.hostChanged({});
  await world.settle();
  expect(slow).toHaveBeenCalledOnce();
  launch();
  await world.until('the VM', () => world.machine.running().length === 1);
  await world.settle();
  const running = world.machine.running();
  tell();
  await world.untilReady('r');
  expect(world.machine.running()).toEqual(running);
  expect(world.onDisk()).toEqual([`${metadata.uid}.1.bundle`]);
  slow.mockRestore();
  await world.close();
});
