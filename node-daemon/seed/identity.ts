import { generateSshKeyPair, type SshKeyPair } from '../ssh/key-pair.ts';

/** The keys of one VM. They are made for it and are never used for another. */
export interface Identity {
  /** What the VM's SSH server proves itself with; the daemon pins its public half. */
  readonly hostKey: SshKeyPair;
  /** What the daemon logs in with. */
  readonly runnerKey: SshKeyPair;
}

/** A fresh host key and a fresh login key. */
export const makeIdentity = (): Identity => ({
  hostKey: generateSshKeyPair(),
  runnerKey: generateSshKeyPair(),
});
