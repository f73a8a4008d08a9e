import { generateKeyPairSync, randomBytes } from 'node:crypto';

/** An ed25519 key pair as OpenSSH writes it. */
export interface SshKeyPair {
  /** `-----BEGIN OPENSSH PRIVATE KEY-----` …, without a passphrase, ending in a newline. A secret. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA…`, without a comment and without a newline. */
  readonly publicKey: string;
}

const TYPE = Buffer.from('ssh-ed25519');
const NONE = Buffer.from('none');
/** OpenSSH pads the private part to the block size of no cipher. */
const BLOCK = 8;
const LINE = 70;

/**
 * A fresh key pair. The generator of the library that speaks SSH here is not used: it loses a leading zero
 * byte, so that one key in some 130 cannot be read by anything, itself included.
 */
export function generateSshKeyPair(): SshKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const point = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
  const blob = Buffer.concat([field(TYPE), field(point)]);
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    blob,
    field(Buffer.concat([seed, point])),
    field(Buffer.alloc(0)),
  ]);
  const padding = Buffer.from(Array.from({ length: -secret.length & (BLOCK - 1) }, (_, index) => index + 1));
  const envelope = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    field(NONE),
    field(NONE),
    field(Buffer.alloc(0)),
    uint32(1),
    field(blob),
    field(Buffer.concat([secret, padding])),
  ]);
  return { privateKey: pem(envelope), publicKey: `${TYPE} ${blob.toString('base64')}` };
}

function pem(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(new RegExp(`.{1,${LINE}}`, 'g')) ?? [];
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join(
    '\n',
  );
}

function field(bytes: Buffer): Buffer {
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
