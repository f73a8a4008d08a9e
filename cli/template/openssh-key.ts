/** The halves of an unencrypted OpenSSH ed25519 private key. */
export interface Ed25519Key {
  /** 32-byte seed followed by the 32-byte public key. */
  readonly privateKey: Buffer;
  readonly publicKey: Buffer;
}

const MAGIC = 'openssh-key-v1\0';
const TYPE = 'ssh-ed25519';

/** Takes an OpenSSH private key apart; undefined where it is anything but one plain ed25519 key. */
export function parseOpensshEd25519(pem: string): Ed25519Key | undefined {
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+)-----END OPENSSH PRIVATE KEY-----/.exec(pem)?.[1];
  const bytes = Buffer.from(body ?? '', 'base64');
  if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined;
  try {
    const outer = fields(bytes.subarray(MAGIC.length));
    if (outer.text() !== 'none' || outer.text() !== 'none') return undefined;
    outer.string();
    if (outer.uint32() !== 1) return undefined;
    outer.string();
    const inner = fields(outer.string());
    const [check, again] = [inner.uint32(), inner.uint32()];
    if (check !== again || inner.text() !== TYPE) return undefined;
    const publicKey = inner.string();
    const privateKey = inner.string();
    const whole = publicKey.length === 32 && privateKey.length === 64;
    return whole && privateKey.subarray(32).equals(publicKey) ? { privateKey, publicKey } : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** The private key file that dropbear reads: the same key without OpenSSH's envelope. */
export function dropbearPrivateKey(key: Ed25519Key): Buffer {
  return Buffer.concat([prefixed(Buffer.from(TYPE)), prefixed(key.privateKey)]);
}

/** A reader of SSH's length-prefixed fields. Throws a RangeError past the end. */
function fields(bytes: Buffer): { uint32(): number; string(): Buffer; text(): string } {
  let offset = 0;
  const uint32 = (): number => {
    const value = bytes.readUInt32BE(offset);
    offset += 4;
    return value;
  };
  const string = (): Buffer => {
    const length = uint32();
    if (offset + length > bytes.length) throw new RangeError('field beyond the end');
    offset += length;
    return bytes.subarray(offset - length, offset);
  };
  return { uint32, string, text: () => string().toString('latin1') };
}

function prefixed(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
