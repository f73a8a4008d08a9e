import { expect, test } from 'vitest';
import type { VmSpec } from '../driver.ts';
import { randomMac, userNetwork } from './network.ts';

const SPEC: VmSpec = {
  identity: { uid: 'u', attempt: 1, hostUid: 'h' },
  templateDir: '/t',
  resources: { cpu: 1, memoryBytes: 1, diskBytes: 1 },
  guestPorts: { ssh: 2022, agent: 9090 },
  notifyPort: 8081,
};

test('a MAC address is unicast, locally administered, and another one each time', () => {
  const macs = Array.from({ length: 100 }, randomMac);
  for (const mac of macs) {
    expect(mac).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    expect(Number.parseInt(mac.slice(0, 2), 16) & 0x03).toBe(0x02);
  }
  expect(new Set(macs).size).toBe(100);
});

test('a VM gets loopback addresses of the host that lead to its own ports in the guest', async () => {
  const { netdev, endpoints } = await userNetwork().plug(SPEC);
  const { ssh, agent } = endpoints;
  expect(netdev).toContain(`hostfwd=tcp:${ssh.host}:${ssh.port}-10.0.2.15:2022`);
  expect(netdev).toContain(`hostfwd=tcp:${agent.host}:${agent.port}-10.0.2.15:9090`);
  expect(endpoints).toMatchObject({ guestIp: '10.0.2.15', notifyUrl: 'http://10.0.2.2:8081' });
});

test.runIf(process.platform === 'linux')('the address is one that guests cannot reach', async () => {
  const { endpoints } = await userNetwork().plug(SPEC);
  const [first, second] = endpoints.ssh.host.split('.').map(Number);
  expect(first).toBe(127);
  expect((second ?? 0) >> 6).toBe(1);
  expect(endpoints.agent.host).toBe(endpoints.ssh.host);
});
