import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { QemuNetwork } from '../../node-daemon/vm/qemu/network.ts';
import { isListening, loopbackAddress } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

/**
 * One Ethernet segment for two VMs, as a bridge makes it, which takes no rights: a QEMU without a machine is
 * hub, DHCP server and gateway. Addresses are given in the order in which guests ask, not in that in which
 * they were plugged in; and the host sees all of them come from one address.
 */
export interface Segment {
  readonly network: QemuNetwork;
  /** Where the SSH server of the guest that has this address is reached from the host. */
  ssh(guestIp: string): { readonly host: string; readonly port: number };
  stop(): Promise<void>;
}

const SSH_PORTS = [2201, 2202];
const PLUG_PORTS = [2301, 2302];
const GATEWAY = '10.0.2.2';
const FIRST_ADDRESS = 15;

export async function startSegment(): Promise<Segment> {
  const host = loopbackAddress();
  const free = [...PLUG_PORTS];
  const guestIps = SSH_PORTS.map((_, index) => `10.0.2.${FIRST_ADDRESS + index}`);
  const forwards = SSH_PORTS.map((port, index) => `hostfwd=tcp:${host}:${port}-${guestIps[index]}:22`);
  const netdevs = [
    `user,id=gateway,ipv6=off,${forwards.join(',')}`,
    'hubport,id=hub,hubid=0,netdev=gateway',
    ...PLUG_PORTS.flatMap((port, index) => [
      `socket,id=plug${index},listen=${host}:${port}`,
      `hubport,id=hub${index},hubid=0,netdev=plug${index}`,
    ]),
  ];
  const binary = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
  const argv = [
    '-M',
    'none',
    '-nodefaults',
    '-display',
    'none',
    ...netdevs.flatMap((text) => ['-netdev', text]),
  ];
  const hub = spawn(binary, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  hub.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const serves = async () => hub.exitCode === null && (await isListening(host, SSH_PORTS[0] ?? 0));
  await until('the segment', serves, () => said);
  return {
    network: { plug: async (spec) => plug(host, free, spec.notifyPort) },
    ssh: (guestIp) => ({ host, port: SSH_PORTS[guestIps.indexOf(guestIp)] ?? 0 }),
    stop: () => stop(hub),
  };
}

/** The driver's endpoints are of no use here: where a VM is, only its report tells. */
function plug(host: string, ports: number[], notifyPort: number): Awaited<ReturnType<QemuNetwork['plug']>> {
  const port = ports.shift();
  if (port === undefined) throw new Error('all places of the segment are taken');
  const nowhere = { host: '127.255.255.254', port };
  return {
    netdev: `socket,connect=${host}:${port}`,
    endpoints: { ssh: nowhere, agent: nowhere, notifyUrl: `http://${GATEWAY}:${notifyPort}` },
  };
}

async function stop(hub: ChildProcess): Promise<void> {
  if (hub.exitCode !== null || hub.signalCode !== null) return;
  hub.kill('SIGKILL');
  await once(hub, 'exit');
}
