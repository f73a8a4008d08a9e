import { expect, test } from 'vitest';
import { parseOpensshEd25519 } from '../../cli/template/openssh-key.ts';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';

test('every key that is made can be read by the guest, and none is made twice', () => {
  const seen = new Set<string>();
  for (let round = 0; round < 400; round++) {
    const { hostKey, runnerKey } = makeIdentity();
    for (const { privateKey, publicKey } of [hostKey, runnerKey]) {
      const key = parseOpensshEd25519(privateKey);
      expect(key, privateKey.length.toString()).toBeDefined();
      expect(Buffer.from(publicKey.split(' ')[1] ?? '', 'base64').subarray(-32)).toEqual(key?.publicKey);
      seen.add(publicKey);
    }
  }
  expect(seen.size).toBe(800);
});
