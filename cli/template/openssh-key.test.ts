import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import ssh2 from 'ssh2';
import { expect, test } from 'vitest';
import { generateSshKeyPair } from '../../node-daemon/ssh/key-pair.ts';
import { dropbearPrivateKey, parseOpensshEd25519 } from './openssh-key.ts';

const pair = generateSshKeyPair();

test('takes an ed25519 key apart', () => {
  const key = parseOpensshEd25519(pair.privateKey);
  const blob = Buffer.from(pair.publicKey.split(' ')[1] ?? '', 'base64');
  expect(key?.publicKey).toEqual(blob.subarray(-32));
  expect(key?.privateKey.subarray(32)).toEqual(key?.publicKey);
});

test('writes it as dropbear reads it', () => {
  const key = parseOpensshEd25519(pair.privateKey);
  if (key === undefined) throw new Error('not parsed');
  const file = dropbearPrivateKey(key);
  expect(file.readUInt32BE(0)).toBe(11);
  expect(file.toString('latin1', 4, 15)).toBe('ssh-ed25519');
  expect(file.readUInt32BE(15)).toBe(64);
  expect(file.subarray(19)).toEqual(key.privateKey);
});

test('refuses other keys and damaged ones', () => {
  const rsa = ssh2.utils.generateKeyPairSync('rsa', { bits: 1024 }).private;
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  for (const text of [rsa, pem, '', pair.privateKey.replace('AAAA', 'BBBB')]) {
    expect(parseOpensshEd25519(text)).toBeUndefined();
  }
});

test('never throws on an altered key', () => {
  fc.assert(
    fc.property(fc.nat({ max: pair.privateKey.length - 1 }), fc.nat({ max: 300 }), (at, cut) => {
      const altered = pair.privateKey.slice(0, at) + pair.privateKey.slice(at + cut);
      const key = parseOpensshEd25519(altered);
      if (key !== undefined) expect(key.privateKey).toHaveLength(64);
    }),
  );
});
