import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AuditEvent, conditionOf, Fleet, isOurWrite } from '../harness/fleet.ts';
import { processesNaming } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await Fleet.start();
});
afterAll(() => fleet.stop());

test("a VM outlives its daemon's kill -9, is adopted, and its guest never notices", async () => {
  await fleet.create('adopted', { setupScript: { inline: 'true' } });
  const before = await fleet.whenReady('adopted');
  const bootId = await fleet.ssh(before, 'cat /proc/sys/kernel/random/boot_id');
  const [pid] = await processesNaming(`${before.metadata.uid}.1.bundle`);
  await fleet.host.daemon.kill9();
  expect(await fleet.ssh(before, 'cat /proc/sys/kernel/random/boot_id')).toBe(bootId);
  await fleet.host.restart();
  expect(await processesNaming(`${before.metadata.uid}.1.bundle`)).toEqual([pid]);
  expect(await fleet.ssh(before, 'cat /proc/sys/kernel/random/boot_id')).toBe(bootId);
  const after = await fleet.whenReady('adopted');
  expect(after.status).toEqual(before.status);
  await fleet.burn('adopted');
  // The tombstone stays until the API server has acknowledged that the Runner was let go.
  const bundles = () => readdir(join(fleet.host.root, 'runners'));
  await until('the tombstone to go', async () => (await bundles()).length === 0);
});

test('a script that is the job outlives its SSH session and its daemon', async () => {
  await fleet.create('long-job', {
    completion: 'Script',
    setupScript: { inline: 'echo begun > ~/begun; while [ ! -e ~/go-on ]; do sleep 0.2; done; echo ended' },
  });
  const running = await fleet.whenPhase('long-job', 'Running');
  await until(
    'the script to begin',
    async () => (await fleet.ssh(running, 'cat ~/begun || true')) === 'begun',
  );
  await fleet.host.daemon.kill9();
  await fleet.ssh(running, 'touch ~/go-on');
  await fleet.host.restart();
  const finished = await fleet.whenPhase('long-job', 'Finished');
  expect(finished.status?.setup).toEqual({ exitCode: 0, outputTail: 'ended\n' });
  await fleet.burn('long-job');
});

test('a Runner that is deleted while its daemon is dead is gone soon after it is back', async () => {
  await fleet.create('orphan', { setupScript: { inline: 'true' } });
  const runner = await fleet.whenReady('orphan');
  await fleet.host.daemon.kill9();
  await fleet.delete('orphan');
  expect((await fleet.get('orphan'))?.metadata.deletionTimestamp).toBeDefined();
  expect(await processesNaming(`${runner.metadata.uid}.1.bundle`)).toHaveLength(1);
  await fleet.host.restart();
  await until('the Runner to be gone', async () => (await fleet.get('orphan')) === undefined);
  expect(await processesNaming(`${runner.metadata.uid}.1.bundle`)).toEqual([]);
});

test('a VM whose process is killed is an error that says so', async () => {
  await fleet.create('murdered', { setupScript: { inline: 'true' } });
  const runner = await fleet.whenReady('murdered');
  const [pid] = await processesNaming(`${runner.metadata.uid}.1.bundle`);
  if (pid === undefined) throw new Error('the VM has no process');
  process.kill(pid, 'SIGKILL');
  const dead = await fleet.whenPhase('murdered', 'Error');
  expect(conditionOf(dead, 'Stalled')).toMatchObject({ status: 'True', reason: 'VmExited' });
  await fleet.burn('murdered');
});

test('an idle system writes its Leases and nothing else', async () => {
  await fleet.create('idle', { setupScript: { inline: 'true' } });
  await fleet.whenReady('idle');
  const before = (await fleet.audit()).length;
  await new Promise((resolve) => setTimeout(resolve, 60_000));
  const writes = (await fleet.audit()).slice(before).filter(isOurWrite);
  const isLease = (event: AuditEvent): boolean => event.objectRef?.resource === 'leases';
  expect(writes.some(isLease)).toBe(true);
  expect(writes.filter((event) => !isLease(event))).toEqual([]);
  await fleet.burn('idle');
});
