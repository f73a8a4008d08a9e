import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { conditionOf, Fleet } from '../harness/fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await Fleet.start({ hosts: { 'host-a': 3 } });
});
afterAll(() => fleet.stop());

const NAMES = ['one', 'two', 'three'];
let runners: Stored<Runner>[];

test('three Runners run at once, each with a disk, a host key and an identity of its own', async () => {
  for (const name of NAMES) await fleet.create(name, { setupScript: { inline: `echo ${name} > ~/mine` } });
  runners = await Promise.all(NAMES.map((name) => fleet.whenReady(name)));
  const seen = await Promise.all(
    runners.map(async (runner) => ({
      hostname: await fleet.ssh(runner, 'hostname'),
      mine: await fleet.ssh(runner, 'cat ~/mine'),
      uid: JSON.parse(await fleet.ssh(runner, 'cat /run/shoesvz/identity.json')).uid as string,
      mac: await fleet.ssh(runner, 'cat /sys/class/net/e*/address'),
      bootId: await fleet.ssh(runner, 'cat /proc/sys/kernel/random/boot_id'),
      machineId: await fleet.ssh(runner, 'cat /etc/machine-id'),
    })),
  );
  expect(seen.map(({ hostname }) => hostname)).toEqual(NAMES);
  expect(seen.map(({ mine }) => mine)).toEqual(NAMES);
  expect(seen.map(({ uid }) => uid)).toEqual(runners.map(({ metadata }) => metadata.uid));
  for (const own of ['mac', 'bootId', 'machineId'] as const) {
    expect(new Set(seen.map((one) => one[own])).size, own).toBe(3);
  }
  expect(new Set(runners.map(({ status }) => status?.ssh?.hostKey)).size).toBe(3);
});

test('a guest reaches neither etcd, nor the API server, nor other VMs', async () => {
  const [self, other] = runners;
  if (self === undefined || other === undefined)
    throw new Error('the Runners of the test before are missing');
  const api = new URL(fleet.controlPlane.server);
  // 10.0.2.2 is the host's loopback as QEMU's user network shows it.
  const targets = [
    `10.0.2.2 ${api.port}`,
    `${api.hostname} ${api.port}`,
    '10.0.2.2 2379',
    '10.0.2.2 2380',
    `10.0.2.2 ${other.status?.ssh?.port}`,
    `${other.status?.ssh?.host} ${other.status?.ssh?.port}`,
    `${other.status?.ssh?.host} 8080`,
  ];
  for (const target of targets) {
    const [host, port] = target.split(' ');
    const tried = `timeout 5 bash -c 'exec 3<>/dev/tcp/${host}/${port} && echo open' 2>&1 | tail -1`;
    expect(await fleet.ssh(self, tried), target).toMatch(/refused|timed out|unreachable|^$/i);
  }
});

test('a fourth Runner waits for room, says so, and starts when one of the three goes', async () => {
  await fleet.create('fourth', { setupScript: { inline: 'true' } });
  const waiting = await fleet.when(
    'fourth',
    'unbound',
    (runner) => conditionOf(runner, 'Bound')?.status === 'False',
  );
  expect(conditionOf(waiting, 'Bound')?.message).toContain('1 host: 1 full');
  expect(waiting.status?.phase).toBe('Pending');
  await fleet.burn('two');
  const started = await fleet.whenReady('fourth');
  expect(started.spec.binding).toMatchObject({ hostName: 'host-a', attempt: 1 });
});
