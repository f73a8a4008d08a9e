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
  // 10.0.2.2 is the host as QEMU's user network shows it: its loopback address 127.0.0.1, and no other one.
  const ports = [api.port, '2379', '2380', other.status?.ssh?.port, 8080];
  for (const port of ports) {
    const tried = `timeout 5 bash -c 'exec 3<>/dev/tcp/10.0.2.2/${port} && echo open' 2>&1 | tail -1`;
    expect(await fleet.ssh(self, tried), `port ${port}`).toMatch(/refused/i);
  }
});

test("root in a guest who forces a way to the host's other loopback addresses is let in nowhere", async () => {
  const [self, other] = runners;
  if (self === undefined || other === undefined)
    throw new Error('the Runners of the test before are missing');
  const api = new URL(fleet.controlPlane.server);
  const { host, port } = other.status?.ssh ?? { host: '', port: 0 };
  const force = (address: string): string => `
    for i in all eth0; do echo 1 | sudo tee /proc/sys/net/ipv4/conf/$i/route_localnet >/dev/null; done
    sudo ip route del local 127.0.0.0/8 table local 2>/dev/null
    sudo ip route add ${address} via 10.0.2.2 dev eth0 src 10.0.2.15`;
  const statusOf = (url: string): Promise<string> =>
    fleet.ssh(self, `curl -sk -m 10 -o /dev/null -w '%{http_code}' ${url}`);
  await fleet.ssh(self, force(api.hostname));
  expect(await statusOf(`${api.href}api`)).toBe('401');
  await fleet.ssh(self, force(host));
  expect(await statusOf(`http://${host}:8080/status`)).toBe('401');
  // What the peer's SSH server offers to someone without its Runner's key is a banner.
  const banner = await fleet.ssh(
    self,
    `timeout 5 bash -c 'exec 3<>/dev/tcp/${host}/${port} && head -1 <&3' 2>&1 | tail -1`,
  );
  expect(banner).toMatch(/^SSH-2\.0/);
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
