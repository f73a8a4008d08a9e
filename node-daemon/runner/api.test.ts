import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ApiError } from '../../kube/errors.ts';
import { unreachable } from './testing/fake-client.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const warnings = (): string[] =>
  world.logs.filter(({ level }) => level === 'warn' || level === 'error').map(({ message }) => message);

/** A daemon that waits with a booting VM, so that the next status write is the gate. */
async function beforeTheGate(): Promise<string> {
  world.guests.sshUp = false;
  await world.start();
  const { metadata } = world.bound('r');
  await world.untilPhase('r', 'Booting');
  return metadata.uid;
}

function letIn(): void {
  world.guests.sshUp = true;
  world.guests.changed();
}

describe('the gate', () => {
  test('whose answer is lost was passed, if the API server says so', async () => {
    await beforeTheGate();
    world.client.fail('patchStatus', unreachable(), { applied: true });
    letIn();
    await world.untilReady('r');
    expect(world.guests.given).toHaveLength(1);
  });

  test('whose answer is lost was passed, though the next try is refused before the watch shows it', async () => {
    await beforeTheGate();
    world.client.hold();
    world.client.fail('patchStatus', unreachable(), { applied: true });
    letIn();
    await world.pass(5_000);
    expect(world.client.calls.filter((call) => call === 'patchStatus').length).toBeGreaterThan(2);
    world.client.release();
    await world.untilReady('r');
    expect(world.guests.given).toHaveLength(1);
  });

  test('that was not passed is tried again', async () => {
    await beforeTheGate();
    world.client.fail('patchStatus', unreachable(), { times: 3 });
    letIn();
    await world.untilReady('r');
    expect(world.guests.given).toHaveLength(1);
  });

  test('that somebody else was faster to write near is tried again', async () => {
    await beforeTheGate();
    world.client.hold();
    world.runners.patch('r', { metadata: { labels: { seen: 'yes' } } });
    letIn();
    await world.pass(1_000);
    expect(world.guests.given).toEqual([]);
    world.client.release();
    await world.untilReady('r');
    expect(world.guests.given).toHaveLength(1);
  });

  test('that a former daemon passed is not taken for its own by a daemon whose watch is behind', async () => {
    const uid = await beforeTheGate();
    const before = world.runners.resourceVersion;
    const goOn = world.holdBack('guest.startScript');
    letIn();
    await world.until('the gate', () => world.status('r')?.scriptAttempt === 1);
    await world.kill();
    goOn();
    world.client.heldAt = before;
    await world.start();
    await world.pass(5_000);
    expect(world.machine.running()).toEqual([world.paths(uid).dir]);
    world.client.release();
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.reason).toBe('ScriptUnknown');
    expect(world.guests.given).toEqual([]);
  });
});

describe('a write', () => {
  test('that conflicts is decided anew, and is no reason to worry', async () => {
    await beforeTheGate();
    world.client.fail('patchStatus', new ApiError(409, 'Conflict', 'the object has been modified'));
    letIn();
    await world.untilReady('r');
    expect(warnings()).toEqual([]);
  });

  test('of the end whose answer is lost is not repeated', async () => {
    await world.start();
    const goOn = world.holdBack('runtime.purge');
    const { metadata } = world.bound('r', { completion: 'Script' });
    await world.pass(1_000);
    goOn();
    world.client.fail('patchStatus', unreachable(), { applied: true, times: 5 });
    await world.untilPhase('r', 'Finished');
    await world.untilClean();
    const writes = world.runners.writes.filter(({ uid, by }) => uid === metadata.uid && by === 'daemon');
    expect(writes.length).toBeLessThanOrEqual(6);
    await world.expectNoLeak();
  });

  test('that removes the finalizer and whose answer is lost leaves nothing', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    world.client.fail('patch', unreachable(), { applied: true });
    world.runners.delete('r');
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('to an API server that does not know Runners, for now, lets go of nothing', async () => {
    await world.start();
    world.bound('r');
    await world.untilReady('r');
    const unknownKind = new ApiError(404, 'KindNotServed', 'the API server does not serve runners');
    world.client.fail('patch', unknownKind, { times: 4 });
    world.runners.delete('r');
    await world.pass(500);
    expect(world.get('r')?.metadata.finalizers).toHaveLength(1);
    expect(world.onDisk()).toHaveLength(1);
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
  });
});

describe('an API server that is away', () => {
  test('costs no VM, and what was wanted meanwhile happens when it is back', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    world.client.setOutage(unreachable());
    world.runners.delete('r');
    await world.pass(10 * 60_000);
    expect(world.machine.running()).toEqual([world.paths(metadata.uid).dir]);
    world.client.setOutage(undefined);
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
  });

  test('for long holds nothing up for long once it is back', async () => {
    await beforeTheGate();
    world.client.setOutage(unreachable());
    letIn();
    await world.pass(60 * 60_000);
    world.client.setOutage(undefined);
    await world.pass(16_000);
    expect(world.condition('r', 'Ready')?.status).toBe('True');
  });

  test('while a daemon starts over bundles of Runners that it does not show destroys none', async () => {
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilReady('r');
    await world.kill();
    // Its watch is served, and shows none of them; reads are not answered.
    const before = world.runners.resourceVersion;
    world.client.heldAt = '100';
    world.client.fail('get', unreachable(), { times: 10 });
    await world.start();
    await world.pass(20_000);
    expect(world.machine.running()).toEqual([world.paths(metadata.uid).dir]);
    await world.pass(60_000);
    world.client.release();
    await world.pass(60_000);
    expect(world.machine.running()).toEqual([world.paths(metadata.uid).dir]);
    expect(world.runners.resourceVersion).toBe(before);
  });
});

test('a Runner that is deleted and created anew under its name at once is two Runners', async () => {
  await world.start();
  const first = world.bound('r');
  await world.untilReady('r');
  world.client.hold();
  world.runners.patch('r', { metadata: { finalizers: [] } });
  world.runners.delete('r');
  const second = world.bound('r');
  world.client.release();
  await world.untilReady('r');
  await world.until('the first to be gone', () => world.onDisk().length === 1);
  expect(world.onDisk()).toEqual([`${second.metadata.uid}.1.bundle`]);
  expect(world.machine.running()).toEqual([world.paths(second.metadata.uid).dir]);
  expect(first.metadata.uid).not.toBe(second.metadata.uid);
  world.runners.delete('r');
  await world.untilClean();
  await world.expectNoLeak();
});
