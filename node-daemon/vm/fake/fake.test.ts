import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { VmBackend } from '../backend.ts';
import { BundleStore } from '../bundle.ts';
import { vmDriverContract } from '../contract.ts';
import { VmError, type VmSpec } from '../driver.ts';
import { observeVm } from '../recover.ts';
import { startVm } from '../start.ts';
import { FakeDriver } from './driver.ts';
import { FakeMachine } from './machine.ts';

async function makeRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'sv-'));
  await Promise.all(
    ['runners', 'templates/good', 'templates/bad'].map((dir) => mkdir(join(root, dir), { recursive: true })),
  );
  await writeFile(join(root, 'templates/good/Disk.img'), 'golden', { mode: 0o444 });
  return root;
}

function backendOf(root: string, machine: FakeMachine): VmBackend {
  const bundles = new BundleStore(root);
  return { driver: new FakeDriver({ machine, bundles }), processes: machine, bundles };
}

vmDriverContract('fake', async () => {
  const root = await makeRoot();
  const machine = new FakeMachine();
  return {
    backend: backendOf(root, machine),
    templateDir: join(root, 'templates/good'),
    brokenTemplate: async () => ({ dir: join(root, 'templates/bad'), missing: 'Disk.img' }),
    restarted: () => backendOf(root, machine),
    killProcess: async (bundle) => machine.die(bundle, { code: null, signal: 'SIGKILL' }),
    loseSocket: async (bundle) => machine.killSocket(bundle),
    occupy: async (host, port) => {
      const address = `${host}:${port}`;
      if (machine.listening().includes(address)) throw new Error(`${address} is taken`);
      machine.taken.add(address);
      return async () => {
        machine.taken.delete(address);
      };
    },
    dispose: () => rm(root, { recursive: true, force: true }),
  };
});

describe('what a test can do to the fake machine', () => {
  let root: string;
  let machine: FakeMachine;
  let backend: VmBackend;
  let spec: VmSpec;

  beforeEach(async () => {
    root = await makeRoot();
    machine = new FakeMachine();
    backend = backendOf(root, machine);
    const identity = { uid: 'u', attempt: 1, hostUid: 'h' };
    await backend.bundles.create({
      identity,
      runner: { namespace: 'n', name: 'r' },
      template: { name: 'good', digest: '' },
      createdAt: 1,
    });
    spec = {
      identity,
      templateDir: join(root, 'templates/good'),
      resources: { cpu: 1, memoryBytes: 1, diskBytes: 1 },
      guestPorts: { ssh: 22, agent: 8080 },
      notifyPort: 8081,
    };
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const bundle = () => backend.bundles.paths('u', 1);
  const prepare = (signal = new AbortController().signal) => backend.driver.prepare(bundle(), spec, signal);
  const run = async () => (await startVm(backend, bundle(), await prepare(), () => 1)).control;

  test('a verb fails as often as was asked, then works', async () => {
    machine.fail('prepare', new VmError('CloneFailed', 'no'), 2);
    await expect(prepare()).rejects.toThrow('no');
    await expect(prepare()).rejects.toThrow('no');
    expect((await prepare()).spec).toEqual(spec);
    expect(machine.calls.map(({ verb }) => verb)).toEqual(['prepare', 'prepare', 'prepare']);
  });

  test('a verb hangs until it is released', async () => {
    const release = machine.hang('prepare');
    const order: string[] = [];
    const prepared = prepare().then(() => order.push('prepared'));
    order.push('released');
    release();
    await prepared;
    expect(order).toEqual(['released', 'prepared']);
  });

  test('a verb that hangs ends by its signal', async () => {
    machine.hang('prepare');
    const caller = new AbortController();
    const prepared = prepare(caller.signal);
    caller.abort(new Error('enough'));
    await expect(prepared).rejects.toThrow('enough');
  });

  test('a process table that fails makes unknown', async () => {
    machine.fail('find', new Error('EACCES'));
    expect(await observeVm(backend, bundle())).toEqual({ state: 'unknown', why: 'EACCES' });
  });

  test('a reboot of the machine ends every VM', async () => {
    const control = await run();
    machine.reboot();
    await control.closed;
    expect(await observeVm(backend, bundle())).toEqual({ state: 'absent' });
    expect(machine.running()).toEqual([]);
  });

  test('slots that leaked count against the limit until a reboot', async () => {
    machine.vmLimit = 2;
    machine.leakedSlots = 1;
    const control = await run();
    machine.die(bundle());
    await control.closed;
    machine.leakedSlots = 2;
    await expect(run()).rejects.toMatchObject({ reason: 'VmLimit' });
    machine.reboot();
    (await run()).close();
  });

  test('changes of state are told', async () => {
    const control = await run();
    const states: string[] = [];
    const stopListening = control.onStateChange((state) => states.push(state));
    machine.setState(bundle(), 'paused');
    expect(await control.state()).toBe('paused');
    stopListening();
    machine.setState(bundle(), 'running');
    expect(states).toEqual(['paused']);
  });

  test('a guest obeys stop, or does not', async () => {
    const stubborn = await run();
    machine.guestsObeyStop = false;
    await stubborn.stop();
    expect(await stubborn.state()).toBe('running');
    machine.guestsObeyStop = true;
    await stubborn.stop();
    await stubborn.closed;
    expect(machine.running()).toEqual([]);
  });
});
