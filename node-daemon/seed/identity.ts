import { promisify } from 'node:util';
import ssh2 from 'ssh2';

/** An ed25519 key pair as OpenSSH writes it. */
export interface SshKeyPair {
  /** `-----BEGIN OPENSSH PRIVATE KEY-----` …, unencrypted, ending in a newline. A secret. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA…`, one line without a comment and without a newline. */
  readonly publicKey: string;
}

/** The keys of one VM. They are made for it and are never used for another. */
export interface Identity {
  /** What the VM's SSH server proves itself with; the daemon pins its public half. */
  readonly hostKey: SshKeyPair;
  /** What the daemon logs in with. */
  readonly runnerKey: SshKeyPair;
}

const generateKeyPair = promisify<'ed25519', { private: string; public: string }>(
  ssh2.utils.generateKeyPair as (
    type: 'ed25519',
    callback: (error: Error | null, keys: { private: string; public: string }) => void,
  ) => void,
);

/** A fresh host key and a fresh login key. */
export async function makeIdentity(): Promise<Identity> {
  const [hostKey, runnerKey] = await Promise.all([makeSshKeyPair(), makeSshKeyPair()]);
  return { hostKey, runnerKey };
}

export async function makeSshKeyPair(): Promise<SshKeyPair> {
  const keys = await generateKeyPair('ed25519');
  return { privateKey: `${keys.private.trimEnd()}\n`, publicKey: keys.public.trim() };
}
