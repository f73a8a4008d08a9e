import type { SeedConfig } from './protocol.ts';

/** Which VM this is, for whoever looks from inside: no secret is in it. */
export interface GuestIdentity {
  readonly uid: string;
  readonly attempt: number;
  readonly hostname: string;
}

export function identityOf({ uid, attempt, hostname }: SeedConfig): GuestIdentity {
  return { uid, attempt, hostname };
}
