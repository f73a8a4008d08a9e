import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { makeIdentity } from '../seed/identity.ts';
import { writeSeedDisk } from '../seed/seed-disk.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { MadeSecrets, VmSecrets } from './ports.ts';

/** {@link VmSecrets} as files in the bundle, for its owner only. */
export const bundleSecrets: VmSecrets = {
  make,
  token: (bundle) => readFile(bundle.guestToken, 'utf8'),
};

async function make(bundle: BundlePaths, signal: AbortSignal): Promise<MadeSecrets> {
  const { hostKey, runnerKey } = makeIdentity();
  const token = randomBytes(32).toString('hex');
  await Promise.all([
    writeFile(bundle.privateKey, runnerKey.privateKey, { mode: 0o600, signal }),
    writeFile(bundle.guestToken, token, { mode: 0o600, signal }),
  ]);
  return {
    hostKey: hostKey.publicKey,
    writeSeed: (config) =>
      writeSeedDisk(bundle.seed, {
        config: { version: 1, token, ...config },
        hostKey,
        authorizedKeys: `${runnerKey.publicKey}\n`,
      }),
  };
}
