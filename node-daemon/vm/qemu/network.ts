import { randomBytes, randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import type { GuestEndpoints, VmSpec } from '../driver.ts';

/** Where a VM's NIC is plugged in, and what that means for host and guest. */
export interface NicPlug {
  /** QEMU's `-netdev` without the id: `user,…`, `tap,ifname=…`, `socket,…`. */
  readonly netdev: string;
  readonly endpoints: Omit<GuestEndpoints, 'mac'>;
}

/** How VMs are connected. */
export interface QemuNetwork {
  /** Finds a free place. Asked again where another bundle of this host has the SSH endpoint already. */
  plug(spec: VmSpec): Promise<NicPlug>;
}

const SSH_PORT = 2222;
const AGENT_PORT = 8080;
/** User networking's own addresses: the host as the guest sees it, and the only DHCP lease it gives. */
const GATEWAY = '10.0.2.2';
const GUEST_IP = '10.0.2.15';
const TRIES = 16;

/**
 * QEMU's user networking: needs no rights on the host. Each VM has a loopback address of its own in
 * 127.64.0.0/10, where its two ports are forwarded: what a guest sends to the gateway reaches 127.0.0.1 only,
 * so it finds neither the ports of other VMs nor anything else that listens on another loopback address. IPv6
 * is off, because its gateway would lead to ::1.
 *
 * That is no wall: user networking passes on whatever address a frame bears, so that root in a guest who
 * routes 127.0.0.0/8 to the gateway reaches every TCP port of the host's loopback. What listens there has to
 * ask for credentials.
 */
export function userNetwork(): QemuNetwork {
  return {
    plug: async (spec) => {
      const { ssh, agent } = await freeEndpoints();
      const forwards = [
        `hostfwd=tcp:${ssh.host}:${ssh.port}-${GUEST_IP}:${spec.guestPorts.ssh}`,
        `hostfwd=tcp:${agent.host}:${agent.port}-${GUEST_IP}:${spec.guestPorts.agent}`,
      ];
      return {
        netdev: ['user', 'ipv6=off', ...forwards].join(','),
        endpoints: { ssh, agent, notifyUrl: `http://${GATEWAY}:${spec.notifyPort}`, guestIp: GUEST_IP },
      };
    },
  };
}

/** A random MAC address: unicast, locally administered. */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes.writeUInt8((bytes.readUInt8(0) & 0xfc) | 0x02, 0);
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

async function freeEndpoints(): Promise<Pick<NicPlug['endpoints'], 'ssh' | 'agent'>> {
  for (let round = 0; round < TRIES; round++) {
    const host = `127.${64 + randomInt(64)}.${randomInt(256)}.${1 + randomInt(254)}`;
    const ports = await bindable(host, [SSH_PORT, AGENT_PORT]);
    if (ports === 'no such address') return portsOfOnlyAddress();
    if (ports === 'taken') continue;
    return { ssh: { host, port: SSH_PORT }, agent: { host, port: AGENT_PORT } };
  }
  throw new Error(`no free loopback address found in ${TRIES} tries`);
}

/** macOS has 127.0.0.1 alone: free ports there. */
async function portsOfOnlyAddress(): Promise<Pick<NicPlug['endpoints'], 'ssh' | 'agent'>> {
  const host = '127.0.0.1';
  const ports = await bindable(host, [0, 0]);
  const [ssh, agent] = typeof ports === 'string' ? [] : ports;
  if (ssh === undefined || agent === undefined) throw new Error(`no free port found on ${host}`);
  return { ssh: { host, port: ssh }, agent: { host, port: agent } };
}

/** Binds all ports at once and lets go of them. Someone else may take them afterwards: QEMU says so then. */
async function bindable(
  host: string,
  ports: readonly number[],
): Promise<readonly number[] | 'taken' | 'no such address'> {
  const servers: Server[] = [];
  try {
    for (const port of ports) servers.push(await listening(host, port));
    return servers.map((server) => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EADDRINUSE') return 'taken';
    if (code === 'EADDRNOTAVAIL') return 'no such address';
    throw error;
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

function listening(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}
