import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSeed } from '../../guest/seed.ts';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';
import { seedImage } from '../../node-daemon/seed/seed-disk.ts';

test('what the host writes on a seed disk the guest reads', async () => {
  const { hostKey, runnerKey } = makeIdentity();
  const config = fc.record({
    version: fc.constant(1 as const),
    hostname: fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/),
    user: fc.stringMatching(/^[a-z_][a-z0-9_-]{0,31}$/),
    token: fc.stringMatching(/^[0-9a-f]{64}$/),
    notifyUrl: fc.constantFrom('http://10.0.2.2:8081', 'http://192.168.64.1:40000', 'http://[fe80::1]:8081'),
    agentPort: fc.integer({ min: 1, max: 65_535 }),
    uid: fc.uuid(),
    attempt: fc.integer({ min: 1, max: 1000 }),
  });
  await fc.assert(
    fc.asyncProperty(config, async (written) => {
      const authorizedKeys = `${runnerKey.publicKey}\n`;
      const disk = await seedImage({ config: written, hostKey, authorizedKeys });
      expect(parseSeed(disk)).toEqual({
        config: written,
        hostKey: hostKey.privateKey,
        hostKeyPublic: hostKey.publicKey,
        authorizedKeys,
      });
    }),
    { numRuns: 50 },
  );
});
