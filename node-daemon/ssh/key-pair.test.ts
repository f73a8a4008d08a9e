import ssh2 from 'ssh2';
import { expect, test } from 'vitest';
import { formatPublicKey } from './host-key.ts';
import { generateSshKeyPair } from './key-pair.ts';

test('every key can be read and is one pair, those with leading zeros too', () => {
  let leadingZeros = 0;
  for (let i = 0; i < 300 || leadingZeros === 0; i += 1) {
    const { privateKey, publicKey } = generateSshKeyPair();
    const key = ssh2.utils.parseKey(privateKey);
    if (key instanceof Error) throw key;
    expect(formatPublicKey(key.getPublicSSH())).toBe(publicKey);
    if (key.getPublicSSH().at(19) === 0) leadingZeros += 1;
    if (i < 20) expect(key.verify('text', key.sign('text'))).toBe(true);
  }
});

test('no two keys are the same', () => {
  expect(generateSshKeyPair().publicKey).not.toBe(generateSshKeyPair().publicKey);
});
