import { rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { readMetadata } from '../../node-daemon/vm/metadata.ts';
import type { CrashPoint } from './boundary.ts';
import type { ChaosHost } from './host.ts';
import { ChaosWorld, conditionOf } from './world.ts';

let world: ChaosWorld;
let host: ChaosHost;
beforeAll(async () => {
  world = await ChaosWorld.open();
  host = await world.host();
});
afterEach(() => world.untilNothingIsLeft());
afterAll(() => world.close());

const SPAWN: CrashPoint = { call: 'processes.spawn(argv, env, file)', nth: 0, when: 'before' };

test('a machine that reboots ends what ran and starts anew what had not begun', async () => {
  const waiting = { setupScript: { inline: world.waiting('ran') } };
  await world.create('ran', waiting);
  await world.whenPhase('ran', 'Running');
  await host.daemon.arm(SPAWN);
  await world.create('half-made');
  await host.daemon.exited;
  expect(await host.bundles()).toHaveLength(2);
  await host.reboot();
  const ran = await world.whenPhase('ran', 'Error');
  expect(conditionOf(ran, 'Stalled')).toMatchObject({ status: 'True', reason: 'VmExited' });
  await world.whenPhase('half-made', 'Finished');
  expect([await world.runs('ran'), await world.runs('half-made')]).toEqual([1, 1]);
  await world.burn('ran', 'half-made');
});

/** Where the VM's process is killed, and what the Runner comes to. */
const PHASES = [
  { phase: 'booting', at: { call: 'guests.login', nth: 0, when: 'before' }, comesTo: 'Finished' },
  {
    phase: 'SSH-ready, before the gate',
    at: { call: 'runners.patchStatus(SSHReady)', nth: 0, when: 'before' },
    comesTo: 'Finished or Error',
  },
  {
    phase: 'behind the gate',
    at: { call: 'guest.startScript', nth: 0, when: 'before' },
    comesTo: 'Error',
  },
  {
    phase: 'over, before its purge',
    at: { call: 'driver.purge', nth: 0, when: 'before' },
    comesTo: 'Finished',
  },
] as const;

test.each(PHASES)('a VM that is killed while it is $phase comes to: $comesTo', async ({ at, comesTo }) => {
  const name = `killed-${PHASES.findIndex((phase) => phase.at === at)}`;
  const held = await host.daemon.holdAt(at);
  const { metadata } = await world.create(name);
  await held.reached;
  await host.killVms(`${metadata.uid}.1.bundle`);
  held.release();
  const runner = await world.whenPhase(name, 'Finished', 'Error');
  expect(comesTo).toContain(runner.status?.phase);
  expect(await world.runs(name)).toBe(runner.status?.phase === 'Finished' ? 1 : 0);
  if (runner.status?.phase === 'Error') {
    expect(conditionOf(runner, 'Stalled')).toMatchObject({ status: 'True', reason: 'VmExited' });
  }
  await world.burn(name);
});

test('a VM that is killed while its script runs is an error', async () => {
  const { metadata } = await world.create('mid-job', { setupScript: { inline: world.waiting('mid-job') } });
  await world.whenPhase('mid-job', 'Running');
  await host.killVms(`${metadata.uid}.1.bundle`);
  const runner = await world.whenPhase('mid-job', 'Error');
  expect(conditionOf(runner, 'Stalled')?.reason).toBe('VmExited');
  expect(await world.runs('mid-job')).toBe(1);
  await world.burn('mid-job');
});

test('a port that another program took meanwhile costs a start, not the Runner', async () => {
  const held = await host.daemon.holdAt(SPAWN);
  const { metadata } = await world.create('port');
  await held.reached;
  const read = await readMetadata(host.paths(metadata.uid).metadata);
  const ssh = read.state === 'present' ? read.metadata.prepared?.endpoints.ssh : undefined;
  if (ssh === undefined) throw new Error('the bundle is not prepared');
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(ssh, resolve));
  const isClosed = new Promise((resolve) => other.once('close', resolve));
  onTestFinished(() => void other.close());
  held.release();
  const runner = await world.whenPhase('port', 'Finished');
  expect(runner.status?.attempts?.[0]?.message).toContain(`${ssh.host}:${ssh.port}`);
  other.close();
  await isClosed;
  await world.burn('port');
});

test('a template that is removed while it is in use harms no VM, and is waited for', async () => {
  const [template, elsewhere] = [join(host.root, 'templates', 'golden'), join(host.root, 'golden')];
  await world.create('made', { setupScript: { inline: world.waiting('made') } });
  await world.whenPhase('made', 'Running');
  await rename(template, elsewhere);
  await world.create('unmade');
  const says = (runner: unknown): boolean => JSON.stringify(runner).includes('emplate');
  const waits = await world.when(
    'unmade',
    'told why it waits',
    (runner) =>
      (conditionOf(runner, 'Bound')?.status === 'False' || (runner?.status?.attempts?.length ?? 0) > 0) &&
      says(runner),
  );
  expect(waits?.status?.phase).toBe('Pending');
  await world.letGo('made');
  await world.whenPhase('made', 'Finished');
  await rename(elsewhere, template);
  await world.whenPhase('unmade', 'Finished');
  await world.burn('made', 'unmade');
});

test('a bundle directory that is deleted by hand ends its VM, and is told', async () => {
  const { metadata } = await world.create('torn', { setupScript: { inline: world.waiting('torn') } });
  await world.whenPhase('torn', 'Running');
  await rm(host.paths(metadata.uid).dir, { recursive: true });
  await world.letGo('torn');
  const runner = await world.whenPhase('torn', 'Error');
  expect(conditionOf(runner, 'Stalled')).toMatchObject({ status: 'True', reason: 'BundleLost' });
  await world.burn('torn');
});
