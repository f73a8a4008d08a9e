import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunnerSpec } from '../../crds/runner.ts';
import { VmError } from '../vm/driver.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const DAY_MS = 86_400_000;

/** It has failed for good, says so in these words, and nothing is left. */
async function failsWith(reason: string, message: string | RegExp): Promise<void> {
  await world.untilPhase('r', 'Error');
  const told = { status: 'True', reason, message: expect.stringMatching(message) };
  expect(world.condition('r', 'Stalled')).toMatchObject(told);
  expect(world.condition('r', 'Finished')).toMatchObject(told);
  expect(world.condition('r', 'Ready')).toBeUndefined();
  await world.untilClean();
  await world.expectNoLeak();
}

/** It waits to be bound anew, which costs no attempt, says so in these words, and nothing is left. */
async function goesBack(message: string | RegExp): Promise<void> {
  await world.until('r to go back', () => (world.status('r')?.attempts ?? []).length > 0);
  const told = { reason: 'OutOfCapacity', message: expect.stringMatching(message) };
  expect(world.status('r')).toMatchObject({ phase: 'Pending', attempts: [told] });
  expect(world.condition('r', 'Bound')?.message).toMatch(/0 of 1 starts have failed; .*OutOfCapacity/);
  await world.untilClean();
  await world.expectNoLeak();
}

const NO_ROOM = 'ENOSPC: no space left on device, write';

describe('a disk that is full', () => {
  test('of which the driver knows is told with what is missing', async () => {
    world.machine.freeBytes = 1024;
    await world.start();
    world.bound('r');
    await goesBack(/^the disk needs 1073741824 bytes, 1024 are free$/);
  });

  test.each(['bundles.create', 'bundles.update', 'secrets.make', 'secrets.writeSeed'])(
    'when the launch comes to %s is told as that',
    async (call) => {
      let isFull = true;
      world.gates.set(call, async () => {
        if (isFull) throw Object.assign(new Error(NO_ROOM), { code: 'ENOSPC' });
      });
      world.gates.set('driver.purge', async () => {
        isFull = false;
      });
      await world.start();
      world.bound('r');
      await goesBack(NO_ROOM);
    },
  );
});

describe("a VM's process that is killed", () => {
  const killed = async (
    phase: string,
    setupScript: RunnerSpec['setupScript'] = { inline: 'true' },
  ): Promise<void> => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = world.bound('r', { completion: 'Script', setupScript });
    await world.untilPhase('r', phase);
    world.machine.die(world.paths(metadata.uid), { code: null, signal: 'SIGKILL' });
    await failsWith('VmExited', "the VM's process has ended by itself");
  };

  test('while it boots', async () => {
    world.guests.sshUp = false;
    await killed('Booting');
  });

  test('before its script is read', async () => {
    await killed('SSHReady', { secretKeyRef: { name: 'missing', key: 'setup.sh' } });
  });

  test('while its script runs', () => killed('Running'));

  test('when it is ready', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    world.machine.die(world.paths(metadata.uid), { code: null, signal: 'SIGKILL' });
    await failsWith('VmExited', "the VM's process has ended by itself");
  });

  test('while it is destroyed', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    const goOn = world.holdBack('driver.purge');
    for (const call of ['driver.purge', 'runtime.purge']) world.hanging.add(call);
    world.runners.delete('r');
    await world.settle();
    world.machine.die(world.paths(metadata.uid), { code: null, signal: 'SIGKILL' });
    goOn();
    await world.untilClean();
    expect(world.get('r')).toBeUndefined();
  });
});

test('a port that another program has taken is told with its address', async () => {
  world.machine.fail('spawn', new VmError('PortTaken', 'the address 127.65.0.2:2222 is taken'));
  await world.start();
  world.bound('r');
  await failsWith('StartFailed', 'the address 127.65.0.2:2222 is taken');
});

describe('a template that goes while VMs of it run', () => {
  test.each<[string, () => Promise<void>]>([
    ['on the API server', async () => void world.client.templates.delete('debian')],
    [
      'on the host',
      async () => {
        world.hostChanged({ templates: new Map() });
        await rm(`${world.root}/templates/debian`, { recursive: true });
      },
    ],
  ])('%s ends none of them, and fails the next start with its name', async (_, remove) => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    const { metadata } = world.bound('runs', { completion: 'Script' });
    await world.untilPhase('runs', 'Running');
    await remove();
    await world.kill();
    await world.start();
    world.bound('r', { timeouts: { clone: '10s' } });
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.message).toMatch(/debian/);
    world.guests.exit(world.paths(metadata.uid), 0);
    await world.untilPhase('runs', 'Finished');
    await world.untilClean();
  });
});

describe('a guest that stops answering', () => {
  const silent = async (spec: Parameters<World['bound']>[1]): Promise<void> => {
    world.guests.exitsAtOnce = undefined;
    await world.start();
    world.bound('r', spec);
    await world.untilPhase('r', 'Running');
    world.guests.sshUp = false;
    world.guests.cut();
  };

  test('is told of once it lasts, and no more when it answers again', async () => {
    await silent({ completion: 'Script' });
    await world.pass(10_000);
    expect(world.condition('r', 'Ready')?.reason).toBe('SetupRunning');
    const before = world.runners.writes.length;
    await world.pass(600_000);
    expect(world.condition('r', 'Ready')).toMatchObject({
      status: 'Unknown',
      reason: 'GuestSilent',
      message: 'the guest does not answer SSH any more; it is tried again and again',
    });
    expect(world.runners.writes.length).toBe(before + 1);
    world.guests.sshUp = true;
    world.guests.changed();
    await world.until('an answer', () => world.condition('r', 'Ready')?.reason === 'SetupRunning');
  });

  test('for good is over at timeouts.setup, which says so', async () => {
    await silent({ timeouts: { setup: '5m' } });
    await failsWith(
      'SetupTimeout',
      /^the setup script was not done within 300 s \(timeouts\.setup\): .*answer/,
    );
  });
});

describe('a wall clock that is set by a day', () => {
  const jumps = [DAY_MS, -DAY_MS];

  test.each(jumps)('(%d ms) while the template is cloned does not end that', async (jump) => {
    const goOn = world.holdBack('driver.prepare');
    world.hanging.add('driver.prepare');
    world.hanging.add('runtime.prepare');
    await world.start();
    const began = world.clock.monotonic();
    world.bound('r');
    await world.untilPhase('r', 'Creating');
    world.clock.jump(jump);
    await world.pass(60_000);
    expect(world.status('r')?.phase).toBe('Creating');
    goOn();
    const { status } = await world.untilReady('r');
    expect(status?.timings?.totalMs).toBeGreaterThanOrEqual(60_000);
    expect(status?.timings?.totalMs).toBeLessThanOrEqual(world.clock.monotonic() - began);
  });

  test.each(jumps)('(%d ms) while it is ready or being destroyed changes nothing', async (jump) => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    const writes = world.runners.writes.length;
    world.clock.jump(jump);
    await world.pass(7_200_000);
    expect(world.condition('r', 'Ready')?.status).toBe('True');
    expect(world.runners.writes.length).toBe(writes);
    world.machine.fail('purge', new Error('not now'), 3);
    world.runners.delete('r');
    await world.pass(100);
    world.clock.jump(-jump);
    await world.untilClean();
    expect(world.get('r')).toBeUndefined();
  });
});
