import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

/** It waits to be bound anew, which costs no attempt. */
async function goesBack(name: string): Promise<void> {
  await world.until(`${name} to go back`, () => world.status(name)?.attempts !== undefined);
  expect(world.status(name)).toMatchObject({ phase: 'Pending', attempts: [{ reason: 'HostDeleted' }] });
}

const isEmpty = () => world.daemon?.controller.isEmpty();

describe.each(['deleting', 'vanished'] as const)('a host object that is %s', (state) => {
  test('ends Runners that were begun, sends back others, and is waited for until each of them was told', async () => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    world.bound('runs');
    await world.untilPhase('runs', 'Running');
    const goOn = world.holdBack('api.template');
    world.bound('begins');
    await world.settle();
    const tell = world.holdBack('api.writeStatus');
    world.hostChanged({ state });
    await world.settle();
    goOn();
    await world.pass(10_000);
    expect(world.machine.running()).toEqual([]);
    expect(await isEmpty()).toBe(false);
    tell();
    await world.untilPhase('runs', 'Error');
    await goesBack('begins');
    await world.untilClean();
    expect(world.condition('runs', 'Stalled')?.reason).toBe('HostDeleted');
    expect(await isEmpty()).toBe(true);
  });

  test('is waited for until a Runner that was never begun was told', async () => {
    world.hostChanged({ leaseFresh: false });
    await world.start();
    world.bound('waits');
    await world.settle();
    world.hostChanged({ state });
    await world.pass(10_000);
    expect(world.onDisk()).toEqual([]);
    expect(await isEmpty()).toBe(false);
    world.hostChanged({ leaseFresh: true });
    await goesBack('waits');
    await world.untilClean();
    expect(await isEmpty()).toBe(true);
  });

  test('is not waited for because of an earlier attempt of which nothing was ever made', async () => {
    world.bound('r');
    world.runners.bind('r', world.host, DIGEST);
    world.hostChanged({ state });
    await world.start();
    await goesBack('r');
    await world.settle();
    expect(await isEmpty()).toBe(true);
    world.hostChanged({ state: 'live', uid: 'new-uid' });
    await world.untilClean();
  });
});

describe('VMs that a former daemon left, of Runners that are gone', () => {
  async function leaveOne(): Promise<string> {
    await world.start();
    const { metadata } = world.bound('gone');
    await world.untilReady('gone');
    await world.kill();
    world.runners.patch('gone', { metadata: { finalizers: [] } });
    world.runners.delete('gone');
    return world.paths(metadata.uid).dir;
  }

  test('are destroyed before the first new one is started', async () => {
    const left = await leaveOne();
    const goOn = world.holdBack('runtime.purge');
    world.bound('new');
    await world.start();
    await world.pass(10_000);
    expect(world.machine.running()).toEqual([left]);
    goOn();
    await world.untilReady('new');
    expect(world.machine.running()).not.toContain(left);
  });

  test('hold new ones up no longer where they cannot be destroyed', async () => {
    await leaveOne();
    world.machine.fail('purge', new Error('process 77 is still there after SIGKILL'), 10);
    world.bound('new');
    await world.start();
    await world.untilReady('new');
  });

  test('hold nothing up where the disk does not tell of them', async () => {
    await leaveOne();
    world.gates.set('bundles.view', async () => {
      throw new Error('EIO: i/o error');
    });
    await world.start();
    await world.settle();
    world.gates.delete('bundles.view');
    world.bound('new');
    await world.untilReady('new');
  });
});
