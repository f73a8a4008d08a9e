import { networkInterfaces } from 'node:os';
import type { GuestAddress } from './platform.ts';

/** Of the first network card that has an IPv4 address; undefined while none has. */
export function addressOf(): GuestAddress | undefined {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, internal, address, mac } of addresses ?? []) {
      if (family === 'IPv4' && !internal && !address.startsWith('169.254.')) return { ip: address, mac };
    }
  }
  return undefined;
}
