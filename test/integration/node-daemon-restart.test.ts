import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';
import { until } from '../harness/until.ts';
import { conditionOf, DaemonWorld } from './node-daemon-world.ts';

let controlPlane: TestControlPlane;
let client: KubeClient;
let world: DaemonWorld;
beforeAll(async () => {
  controlPlane = await startTestControlPlane();
  client = loadKubeClient({ kubeconfigPath: controlPlane.kubeconfigPath, userAgent: 'shoes-vz-test/0' });
});
afterAll(async () => {
  await client.close();
  await controlPlane.destroy();
});
beforeEach(async () => {
  world = await DaemonWorld.open(client);
});
afterEach(() => world.close());

/** The API server goes away; it is back when the work is done. */
async function withoutApi(work: () => Promise<void> | void): Promise<void> {
  await controlPlane.stop();
  await work();
  controlPlane = await controlPlane.restart();
}

test('an API server that restarts costs no VM, and learns what happened meanwhile', async () => {
  world.guests.exitsAtOnce = undefined;
  await world.start();
  const runs = await world.createBound('runs');
  const ends = await world.createBound('ends', { completion: 'Script' });
  const dies = await world.createBound('dies');
  for (const name of ['runs', 'ends', 'dies']) await world.untilPhase(name, 'Running');
  await withoutApi(() => {
    world.guests.exit(world.paths(ends.metadata.uid), 0, 'bye');
    world.machine.die(world.paths(dies.metadata.uid));
  });
  expect((await world.untilPhase('ends', 'Finished')).status?.setup?.outputTail).toBe('bye');
  expect(conditionOf(await world.untilPhase('dies', 'Error'), 'Stalled')?.reason).toBe('VmExited');
  expect(world.machine.running()).toEqual([world.paths(runs.metadata.uid).dir]);
  world.guests.exit(world.paths(runs.metadata.uid), 0);
  await world.untilReady('runs');
});

test('an API server that restarts while a template is cloned is asked again before the VM starts', async () => {
  const cloned = world.machine.hang('prepare');
  await world.start();
  await world.createBound('r');
  const verbs = () => world.machine.calls.map(({ verb }) => verb);
  await until('the clone to begin', async () => verbs().includes('prepare'));
  await withoutApi(cloned);
  await world.untilReady('r');
  expect(verbs().filter((verb) => verb === 'spawn')).toHaveLength(1);
});

test('an API server that restarts before the gate lets the script run once', async () => {
  world.guests.sshUp = false;
  await world.start();
  await world.createBound('r');
  await world.untilPhase('r', 'Booting');
  await withoutApi(async () => {
    world.guests.sshUp = true;
    world.guests.changed();
    await until('SSH', async () => world.guests.calls.includes('login'));
    expect(world.guests.given).toEqual([]);
  });
  await world.untilReady('r');
  expect(world.guests.given).toHaveLength(1);
});

test('a daemon that starts over an API server that is away says so, and a later one finds its VMs', async () => {
  await world.start();
  const { metadata } = await world.createBound('r');
  await world.untilReady('r');
  await world.stop();
  await withoutApi(async () => {
    await expect(world.start()).rejects.toThrow('cannot reach the API server');
  });
  expect(world.machine.running()).toEqual([world.paths(metadata.uid).dir]);
  await world.start();
  await world.delete('r');
  await world.untilGone('r');
  expect(world.machine.running()).toEqual([]);
});
