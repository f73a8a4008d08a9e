import type { ServerHostKeyAlgorithm } from 'ssh2';

/** Signature algorithms for each kind of host key, cheapest for the guest first. */
const SIGNATURES: Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
};

/** A public key in the text form of `known_hosts` without a comment: `ssh-ed25519 AAAA…`. */
export function formatPublicKey(blob: Buffer): string {
  const typeLength = blob.length >= 4 ? blob.readUInt32BE(0) : 0;
  return `${blob.toString('latin1', 4, 4 + typeLength)} ${blob.toString('base64')}`;
}

/** The key without comment and surplus blanks, so that two spellings of one key are equal. */
export function normalizePublicKey(text: string): string {
  return text.trim().split(/\s+/).slice(0, 2).join(' ');
}

/** What to ask the server to identify itself with. A pinned key allows only algorithms of its own kind. */
export function hostKeyAlgorithms(pinned: string | undefined): ServerHostKeyAlgorithm[] {
  if (pinned === undefined) return Object.values(SIGNATURES).flat();
  const type = normalizePublicKey(pinned).split(' ', 1)[0] ?? '';
  return [...(SIGNATURES[type] ?? [])];
}
