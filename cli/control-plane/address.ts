import { createServer } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { ControlPlaneError, systemErrorCode } from './error.ts';

/**
 * Loopback, but not 127.0.0.1: QEMU's user network maps its gateway address to 127.0.0.1 only, so that here
 * the API server is out of a guest's ordinary reach. macOS configures 127.0.0.1 alone.
 */
const APART_FROM_GUESTS = '127.77.0.1';
const LOOPBACK = '127.0.0.1';

/** The address to listen on where the user named none. */
export async function defaultBindAddress(): Promise<string> {
  const usable = await bindOnce(APART_FROM_GUESTS, 0).then(
    () => true,
    () => false,
  );
  return usable ? APART_FROM_GUESTS : LOOPBACK;
}

/**
 * The given port once it was found free, or any free one. Rejects with PortTaken or BadAddress. Another
 * process may still take it before the API server does.
 */
export async function availablePort(address: string, port: number | undefined): Promise<number> {
  try {
    return await bindOnce(address, port ?? 0);
  } catch (error) {
    throw addressError(address, port, error);
  }
}

/** Where clients on this machine connect to. */
export function serverUrl(bindAddress: string, port: number): string {
  const host = isWildcard(bindAddress) ? LOOPBACK : bindAddress;
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Names and addresses that the serving certificate has to cover. */
export function servedNames(bindAddress: string): string[] {
  const names = ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', LOOPBACK];
  if (!isWildcard(bindAddress)) return [...new Set([...names, bindAddress])];
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((entry) => !entry.address.startsWith('fe80:'))
    .map((entry) => entry.address);
  return [...new Set([...names, hostname(), ...addresses])];
}

const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

function bindOnce(address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: address, port, exclusive: true }, () => {
      const bound = server.address();
      server.close(() => resolve(bound !== null && typeof bound === 'object' ? bound.port : port));
    });
  });
}

function addressError(address: string, port: number | undefined, error: unknown): unknown {
  switch (systemErrorCode(error)) {
    case 'EADDRINUSE':
      return new ControlPlaneError(
        'PortTaken',
        `port: ${port} on ${address} is used by another process; choose another, or none for any free one`,
      );
    case 'EACCES':
      return new ControlPlaneError('PortTaken', `port: ${port} needs root; choose one above 1023`);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EINVAL':
      return new ControlPlaneError(
        'BadAddress',
        `bind address: ${address} is no address of this machine; 127.0.0.1 always is`,
      );
    default:
      return error;
  }
}
