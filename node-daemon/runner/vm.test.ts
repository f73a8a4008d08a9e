import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BundlePaths } from '../vm/driver.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const ready = () => world.condition('r', 'Ready');

async function readyRunner(): Promise<BundlePaths> {
  await world.start();
  const { metadata } = world.bound('r');
  await world.untilReady('r');
  return world.paths(metadata.uid);
}

describe('a VM whose control socket is lost', () => {
  test('is Unknown while nobody knows, and Ready again when it answers', async () => {
    const paths = await readyRunner();
    world.machine.killSocket(paths);
    await world.until('Unknown', () => ready()?.status === 'Unknown');
    expect(world.machine.running()).toEqual([paths.dir]);
    const { length } = world.runners.writes;
    await world.pass(60_000);
    expect(world.runners.writes).toHaveLength(length);
    expect(ready()).toMatchObject({ status: 'Unknown', reason: 'VmUnknown' });
    const vm = world.machine.vm(paths);
    if (vm === undefined) throw new Error('the VM is gone');
    vm.socketDead = false;
    await world.pass(10_000);
    expect(ready()?.status).toBe('True');
  });

  test('and that dies then is noticed although nobody tells', async () => {
    const paths = await readyRunner();
    world.machine.killSocket(paths);
    await world.pass(60_000);
    world.machine.die(paths);
    await world.pass(10_000);
    expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
    await world.untilClean();
  });

  test('for a moment, as when it ends, is not told', async () => {
    const paths = await readyRunner();
    const before = world.runners.writes.length;
    world.machine.killSocket(paths);
    await world.pass(100);
    expect(world.runners.writes).toHaveLength(before);
    world.machine.die(paths);
    await world.pass(1_000);
    expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
  });

  test('before its start was recorded does not hang for ever', async () => {
    await world.start();
    const goOn = world.holdBack('bundles.update');
    const { metadata } = world.bound('r', { timeouts: { clone: '10s', boot: '10s' } });
    goOn();
    await world.until('the VM to run', () => world.machine.vm(world.paths(metadata.uid)) !== undefined);
    await world.kill();
    await world.bundles.update(world.paths(metadata.uid), {
      startReturnedAt: undefined,
      sshReadyAt: undefined,
    });
    world.machine.killSocket(world.paths(metadata.uid));
    await world.start();
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('StartFailed');
    await world.untilClean();
  });
});

describe('a VM whose guest has stopped', () => {
  test('is over although its process is there', async () => {
    const paths = await readyRunner();
    world.machine.setState(paths, 'stopped');
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')).toMatchObject({
      reason: 'VmExited',
      message: expect.stringContaining('stopped'),
    });
    await world.untilClean();
  });

  test('while no daemon was there is over, too', async () => {
    const paths = await readyRunner();
    await world.kill();
    world.machine.setState(paths, 'stopped');
    await world.start();
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
    await world.untilClean();
  });
});

test('a machine that was rebooted has no VM left, and says so', async () => {
  await readyRunner();
  await world.kill();
  world.machine.reboot();
  await world.start();
  await world.untilPhase('r', 'Error');
  expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
  await world.untilClean();
});
