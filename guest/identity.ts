/** `identity.json` in the guest: which VM this is, for whoever looks from inside. No secret is in it. */
export interface GuestIdentity {
  readonly uid: string;
  readonly attempt: number;
  readonly hostname: string;
}
