import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hasFailed } from '../../crds/attempts.ts';
import type { RunnerSpec } from '../../crds/runner.ts';
import { VmError } from '../vm/driver.ts';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const noRoom = () => new VmError('CloneFailed', 'there is no room for a clone');
const hasFailedNow = () => {
  const runner = world.get('r');
  return runner !== undefined && hasFailed(runner);
};
const untilFailed = () => world.until('the attempt to have failed', hasFailedNow);
const bindAnew = () => world.runners.bind('r', world.host, DIGEST);
const finalizers = () => world.get('r')?.metadata.finalizers ?? [];

async function bound(spec: Partial<RunnerSpec> = {}): Promise<string> {
  await world.start();
  return world.bound('r', { startAttempts: 3, ...spec }).metadata.uid;
}

describe('a start that fails', () => {
  test('leaves nothing, and sends the Runner back with the reason', async () => {
    world.machine.fail('prepare', noRoom());
    await bound();
    await world.untilClean();
    expect(world.status('r')).toMatchObject({
      phase: 'Pending',
      attempt: 1,
      attempts: [
        {
          attempt: 1,
          hostName: 'host-a',
          reason: 'CloneFailed',
          message: 'there is no room for a clone',
          finishedAt: new Date(world.clock.now()).toISOString(),
        },
      ],
    });
    expect(world.condition('r', 'Bound')).toMatchObject({
      status: 'False',
      reason: 'AttemptFailed',
      message:
        '1 of 3 starts have failed; attempt 1 on host host-a: CloneFailed: there is no room for a clone',
    });
    expect(world.condition('r', 'Ready')).toMatchObject({ status: 'Unknown', reason: 'AttemptFailed' });
    expect(world.condition('r', 'Stalled')).toBeUndefined();
    expect(world.events.map(({ reason, note }) => `${reason}: ${note}`)).toEqual([
      'CloneFailed: attempt 1 has failed: there is no room for a clone',
      'Purged: nothing is left of attempt 1 on host-a',
    ]);
    const { length } = world.runners.writes;
    await world.expectNoLeak();
    expect(world.runners.writes).toHaveLength(length);
  });

  test('is followed by another, which succeeds and tells of itself only', async () => {
    world.guests.sshUp = false;
    await bound({ timeouts: { boot: '1m' } });
    await untilFailed();
    expect(world.status('r')).not.toHaveProperty('startedAt');
    expect(world.status('r')).not.toHaveProperty('timings');
    world.guests.sshUp = true;
    bindAnew();
    const { status } = await world.untilReady('r');
    expect(status).toMatchObject({
      phase: 'Running',
      attempt: 2,
      scriptAttempt: 2,
      attempts: [{ attempt: 1 }],
    });
    expect(status?.timings?.bootToSshMs).toBeLessThan(60_000);
    expect(finalizers()).toEqual(['vm.shoesvz.dev/host-a.2']);
  });

  test('for the last time is the end, with that reason, and all of them are told', async () => {
    world.machine.fail('prepare', noRoom(), 2);
    await bound({ startAttempts: 2 });
    await untilFailed();
    bindAnew();
    await world.untilPhase('r', 'Error');
    await world.untilClean();
    expect(world.condition('r', 'Stalled')).toMatchObject({ status: 'True', reason: 'CloneFailed' });
    expect(world.status('r')?.attempts).toMatchObject([{ attempt: 1 }, { attempt: 2 }]);
  });

  test('behind the gate is the end', async () => {
    world.guests.exitsAtOnce = undefined;
    const uid = await bound();
    await world.untilPhase('r', 'Running');
    world.machine.die(world.paths(uid));
    await world.untilPhase('r', 'Error');
    await world.untilClean();
    expect(world.condition('r', 'Stalled')?.reason).toBe('VmExited');
    expect(world.status('r')?.attempts).toBeUndefined();
  });
});

describe('a start fails', () => {
  test.each([
    ['where the guest refuses the login', 'LoginFailed', (_uid: string) => world.guests.changed()],
    ['where the VM dies while it boots', 'VmExited', (uid: string) => world.machine.die(world.paths(uid))],
    [
      'where the host is deleted meanwhile',
      'HostDeleted',
      (_uid: string) => world.hostChanged({ state: 'deleting' }),
    ],
  ])('%s: %s', async (_, reason, happen) => {
    if (reason === 'LoginFailed') {
      world.guests.loginResult = { state: 'refused', message: 'the guest refuses our key' };
    } else world.guests.sshUp = false;
    const uid = await bound();
    if (reason !== 'LoginFailed') await world.untilPhase('r', 'Booting');
    happen(uid);
    await world.untilClean();
    expect(world.status('r')).toMatchObject({ phase: 'Pending', attempts: [{ attempt: 1, reason }] });
  });

  test('where somebody removes its bundle', async () => {
    world.guests.sshUp = false;
    const uid = await bound();
    await world.untilPhase('r', 'Booting');
    await world.kill();
    await rm(world.paths(uid).dir, { recursive: true });
    await world.start();
    await world.untilClean();
    expect(world.status('r')?.attempts).toMatchObject([{ attempt: 1, reason: 'BundleLost' }]);
  });
});

test('a failed attempt is not started again by the next daemon', async () => {
  world.machine.fail('prepare', noRoom());
  await bound();
  await world.untilClean();
  await world.kill();
  await world.start();
  await world.pass(60_000);
  expect(world.machine.calls.filter(({ verb }) => verb === 'spawn')).toEqual([]);
  expect(world.onDisk()).toEqual([]);
});

describe('an attempt that is bound here while the finalizer of an earlier one stands', () => {
  test('begins once nothing is left of that one, and lets its finalizer go', async () => {
    world.guests.sshUp = false;
    const uid = await bound();
    await world.untilPhase('r', 'Booting');
    await world.kill();
    await rm(world.paths(uid).dir, { recursive: true });
    bindAnew();
    expect(finalizers()).toHaveLength(2);
    expect(world.machine.running()).toEqual([world.paths(uid, 1).dir]);
    world.guests.sshUp = true;
    await world.start();
    await world.untilReady('r');
    expect(world.machine.running()).toEqual([world.paths(uid, 2).dir]);
    expect(finalizers()).toEqual(['vm.shoesvz.dev/host-a.2']);
    expect(world.onDisk()).toEqual([`${uid}.2.bundle`]);
  });
});
