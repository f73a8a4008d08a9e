import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SshError } from '../ssh/errors.ts';
import { ScriptError } from '../ssh/script.ts';
import type { BundlePaths } from '../vm/driver.ts';
import { unreachable } from './testing/fake-client.ts';
import type { GuestCall } from './testing/fake-guests.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const calls = (call: GuestCall): number => world.guests.calls.filter((one) => one === call).length;
const stalled = () => world.condition('r', 'Stalled');
const lost = (): Error => new SshError('closed', 'the SSH connection ended during a command');

/** A Runner whose script runs until a test ends it. */
async function running(spec = {}): Promise<BundlePaths> {
  world.guests.exitsAtOnce = undefined;
  await world.start();
  const { metadata } = world.bound('r', spec);
  await world.untilPhase('r', 'Running');
  return world.paths(metadata.uid);
}

describe('a login', () => {
  test('that fails at once, again and again, is tried at a measured pace until timeouts.boot', async () => {
    world.guests.loginResult = { state: 'failed', message: 'authorized_keys cannot be replaced' };
    await world.start();
    world.bound('r', { timeouts: { boot: '60s' } });
    await world.untilPhase('r', 'Error');
    expect(calls('login')).toBeLessThan(20);
    expect(calls('login')).toBeGreaterThan(3);
    expect(stalled()).toMatchObject({
      reason: 'BootTimeout',
      message: expect.stringContaining('authorized_keys cannot be replaced'),
    });
  });

  test('that is refused ends the start', async () => {
    world.guests.loginResult = { state: 'refused', message: "the guest's host key is another" };
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    expect(stalled()).toMatchObject({ reason: 'LoginFailed', message: "the guest's host key is another" });
  });

  test('that cannot be recorded is tried again, and leaves no connection', async () => {
    world.guests.sshUp = false;
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Booting');
    let failures = 0;
    world.gates.set('bundles.update', async () => {
      failures += 1;
      if (failures <= 3) throw new Error('ENOSPC: no space left on device');
    });
    world.guests.sshUp = true;
    world.guests.changed();
    await world.untilReady('r');
    expect(world.guests.openSessions).toBe(0);
  });
});

describe('a script', () => {
  test('that cannot be sent is tried at a measured pace until timeouts.setup', async () => {
    world.guests.fail('startScript', lost(), { times: 1e6 });
    await world.start();
    world.bound('r', { timeouts: { setup: '60s' } });
    await world.untilPhase('r', 'Error');
    expect(stalled()?.reason).toBe('SetupTimeout');
    expect(calls('startScript')).toBeLessThan(20);
    expect(world.guests.all().flatMap(({ ran }) => ran)).toEqual([]);
  });

  test('whose start was not heard of runs once', async () => {
    world.guests.exitsAtOnce = undefined;
    world.guests.fail('startScript', lost(), { applied: true });
    await world.start();
    const { metadata } = world.bound('r');
    await world.untilPhase('r', 'Running');
    world.guests.exit(world.paths(metadata.uid), 0);
    await world.untilReady('r');
  });

  test('that the guest cannot run is an error that says why', async () => {
    world.guests.fail('startScript', new ScriptError('guest', 'the guest has no shell'));
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    expect(stalled()).toMatchObject({ reason: 'ScriptFailed', message: 'the guest has no shell' });
  });

  test('is not given up for a guest that cannot answer for a moment', async () => {
    world.guests.fail('watchScript', new ScriptError('guest', 'cannot fork'), { times: 3 });
    world.guests.fail('observeScript', new ScriptError('guest', 'cannot fork'), { times: 3 });
    const paths = await running();
    await world.pass(60_000);
    world.guests.exit(paths, 0);
    await world.untilReady('r');
  });

  test('whose output cannot be read has an exit code nonetheless', async () => {
    world.guests.fail('outputTail', new ScriptError('guest', 'no such file'));
    await world.start();
    world.bound('r');
    const { status } = await world.untilReady('r');
    expect(status?.setup).toEqual({ exitCode: 0, outputTail: '' });
  });

  test('outlives its connection, which is made anew at a measured pace', async () => {
    const paths = await running({ completion: 'Script' });
    const before = calls('login');
    for (let cuts = 0; cuts < 50; cuts += 1) {
      world.guests.cut();
      await world.settle();
    }
    expect(calls('login')).toBeLessThan(before + 4);
    world.guests.exit(paths, 0, 'bye');
    const { status } = await world.untilPhase('r', 'Finished');
    expect(status?.setup?.outputTail).toBe('bye');
  });

  test('that a dead daemon started and did not record is Running', async () => {
    world.guests.exitsAtOnce = undefined;
    const goOn = world.holdBack('guest.observeScript');
    await world.start({ diesAt: await boundaryAfterStart() });
    const { metadata } = world.bound('r');
    await world.until('the death', () => world.daemon?.life.isDead === true);
    await world.kill();
    goOn();
    await world.start();
    await world.untilPhase('r', 'Running');
    world.guests.exit(world.paths(metadata.uid), 0);
    const { status } = await world.untilReady('r');
    expect(status?.phase).toBe('Running');
  });

  test('whose process is gone without an exit code is lost', async () => {
    const paths = await running();
    const guest = world.guests.of(paths);
    if (guest === undefined) throw new Error('no guest');
    guest.script = { state: 'vanished' };
    world.guests.changed();
    await world.untilPhase('r', 'Error');
    expect(stalled()?.reason).toBe('ScriptLost');
  });

  test('of which a guest has no trace after the gate is never run', async () => {
    const goOn = world.holdBack('guest.startScript');
    await world.start();
    world.bound('r');
    await world.until('the gate', () => world.status('r')?.scriptAttempt === 1);
    await world.kill();
    goOn();
    await world.start();
    await world.untilPhase('r', 'Error');
    expect(stalled()?.reason).toBe('ScriptUnknown');
    expect(world.guests.given).toEqual([]);
  });
});

/** The number of the boundary at which the script was just started in the guest. */
async function boundaryAfterStart(): Promise<number> {
  const rehearsal = await World.open();
  rehearsal.guests.exitsAtOnce = undefined;
  const { life } = await rehearsal.start();
  rehearsal.bound('r');
  await rehearsal.untilPhase('r', 'Running');
  await rehearsal.close();
  return life.boundaries.findIndex(({ call, when }) => call === 'guest.startScript' && when === 'after');
}

describe('a guest that no longer lets its host in', () => {
  const refuse = (): void => {
    world.guests.loginResult = { state: 'refused', message: 'the server refused the key' };
    world.guests.cut();
  };

  test('ends a Runner whose script is the job: its end could not be seen', async () => {
    await running({ completion: 'Script' });
    refuse();
    await world.untilPhase('r', 'Error');
    expect(stalled()).toMatchObject({ reason: 'LoginFailed', message: 'the server refused the key' });
  });

  test('does not end one that is Ready and needs no script any more', async () => {
    const paths = await running();
    world.report(paths.uid, { state: 'Idle' });
    await world.untilReady('r');
    refuse();
    await world.pass(60 * 60_000);
    expect(world.condition('r', 'Ready')?.status).toBe('True');
  });
});

describe('a script from a Secret', () => {
  const setupScript = { secretKeyRef: { name: 'setup', key: 'script' } };
  const put = (script: string) => world.client.secrets.set('ci/setup', { script });

  test('waits for it, says so, and runs once it is there', async () => {
    await world.start();
    world.bound('r', { setupScript });
    await world.until('waiting', () => world.condition('r', 'Ready')?.reason === 'SetupWaiting');
    const { length } = world.runners.writes;
    await world.pass(10 * 60_000);
    expect(world.runners.writes).toHaveLength(length);
    put('echo t0ken');
    await world.untilReady('r');
    expect(world.guests.given.map(({ script }) => script)).toEqual(['echo t0ken']);
  });

  test('waits for an API server that does not answer, without filling the log', async () => {
    put('echo t0ken');
    world.client.fail('secret', unreachable(), { times: 30 });
    await world.start();
    world.bound('r', { setupScript });
    await world.untilReady('r');
    expect(world.logs.filter(({ level }) => level === 'warn').length).toBeLessThan(5);
  });

  test('is asked for by one work, whatever becomes of the connection meanwhile', async () => {
    await world.start();
    world.bound('r', { setupScript });
    await world.until('waiting', () => world.condition('r', 'Ready')?.reason === 'SetupWaiting');
    for (let cuts = 0; cuts < 5; cuts += 1) {
      world.guests.cut();
      await world.pass(20_000);
    }
    const before = world.client.calls.filter((call) => call === 'secret').length;
    await world.pass(60_000);
    expect(world.client.calls.filter((call) => call === 'secret').length - before).toBeLessThan(40);
    put('echo t0ken');
    await world.untilReady('r');
    expect(world.guests.given).toHaveLength(1);
  });

  test('shows in nothing that the daemon says', async () => {
    put('echo t0ken');
    world.guests.fail('startScript', lost(), { times: 2 });
    world.guests.exitsAtOnce = 3;
    await world.start();
    world.bound('r', { setupScript });
    await world.untilPhase('r', 'Error');
    const said = JSON.stringify([world.logs, world.events, world.runners.list()]);
    expect(said).not.toContain('t0ken');
  });
});

test.each(['guests.login', 'api.readSecret', 'guest.startScript', 'guest.observeScript', 'guest.outputTail'])(
  'a Runner that is deleted at %s leaves nothing',
  async (call) => {
    world.client.secrets.set('ci/setup', { script: 'true' });
    const goOn = world.holdBack(call);
    await world.start();
    world.bound('r', { setupScript: { secretKeyRef: { name: 'setup', key: 'script' } } });
    await world.pass(5_000);
    world.runners.delete('r');
    await world.settle();
    goOn();
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
    await world.expectNoLeak();
  },
);
