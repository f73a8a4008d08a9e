import { createHash } from 'node:crypto';
import { SEED_ENTRIES, type SeedConfig } from './protocol.ts';
import { readTar } from './seed-tar.ts';

/** What the seed disk tells a VM about itself. */
export interface Seed {
  readonly config: SeedConfig;
  /** OpenSSH private key. */
  readonly hostKey: string;
  /** `ssh-ed25519 AAAA…` */
  readonly hostKeyPublic: string;
  readonly authorizedKeys: string;
}

/** Why there is no seed to act on: one line, without any of the seed's contents. */
export interface SeedProblem {
  readonly problem: string;
}

/** No seed disk is larger; what is has not been written by us. */
export const MAX_SEED_BYTES = 1024 * 1024;

/** All of the seed or a problem, never a part. Never throws. */
export function parseSeed(disk: Uint8Array): Seed | SeedProblem {
  const archive = readTar(disk);
  if ('problem' in archive) return archive;
  const read = (name: string): string | undefined => {
    const bytes = archive.files.get(name);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');
  };
  for (const name of Object.values(SEED_ENTRIES)) {
    if (read(name) === undefined) return { problem: `${name} is missing` };
  }
  const damaged = damagedFile(archive.files, read(SEED_ENTRIES.checksums) ?? '');
  if (damaged !== undefined) return { problem: `${damaged} is damaged` };
  const config = parseConfig(read(SEED_ENTRIES.config) ?? '');
  if ('problem' in config) return config;
  const hostKey = read(SEED_ENTRIES.hostKey) ?? '';
  if (!/^-----BEGIN OPENSSH PRIVATE KEY-----\n[\s\S]+-----END OPENSSH PRIVATE KEY-----\n$/.test(hostKey)) {
    return { problem: `${SEED_ENTRIES.hostKey} is not an OpenSSH private key` };
  }
  const hostKeyPublic = (read(SEED_ENTRIES.hostKeyPublic) ?? '').trim();
  if (!PUBLIC_KEY.test(hostKeyPublic))
    return { problem: `${SEED_ENTRIES.hostKeyPublic} is not a public key` };
  const authorizedKeys = read(SEED_ENTRIES.authorizedKeys) ?? '';
  const keys = authorizedKeys.split('\n').filter((line) => line !== '');
  if (keys.length === 0 || !keys.every((line) => PUBLIC_KEY.test(line))) {
    return { problem: `${SEED_ENTRIES.authorizedKeys} is not a list of public keys` };
  }
  return { config, hostKey, hostKeyPublic, authorizedKeys };
}

/** The first file that is not as the list of checksums says, or is not in it. */
function damagedFile(files: ReadonlyMap<string, Uint8Array>, checksums: string): string | undefined {
  const listed = new Map<string, string>();
  for (const line of checksums.split('\n')) {
    const [, digest, name] = /^([0-9a-f]{64}) {2}(\S+)$/.exec(line) ?? [];
    if (digest !== undefined && name !== undefined) listed.set(name, digest);
  }
  for (const [name, bytes] of files) {
    if (name === SEED_ENTRIES.checksums) continue;
    if (createHash('sha256').update(bytes).digest('hex') !== listed.get(name)) return name;
  }
  return undefined;
}

const PUBLIC_KEY = /^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+={0,2}( [^\n]*)?$/;

/** What each field of seed.json must be. */
const CONFIG_RULES: Readonly<Record<keyof SeedConfig, (value: unknown) => boolean>> = {
  version: (value) => value === 1,
  hostname: matches(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/),
  user: matches(/^[a-z_][a-z0-9_-]{0,31}$/),
  token: matches(/^[0-9a-f]{32,128}$/),
  notifyUrl: matches(/^http:\/\/[A-Za-z0-9.:[\]-]{1,253}\/?$/),
  agentPort: (value) => Number.isInteger(value) && Number(value) > 0 && Number(value) < 65536,
  uid: matches(/^[A-Za-z0-9-]{1,64}$/),
  attempt: (value) => Number.isInteger(value) && Number(value) > 0,
};

function matches(pattern: RegExp): (value: unknown) => boolean {
  return (value) => typeof value === 'string' && pattern.test(value);
}

function parseConfig(json: string): SeedConfig | SeedProblem {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch {
    return { problem: `${SEED_ENTRIES.config} is not JSON` };
  }
  if (typeof data !== 'object' || data === null)
    return { problem: `${SEED_ENTRIES.config} is not an object` };
  const fields = new Map(Object.entries(data));
  for (const [name, holds] of Object.entries(CONFIG_RULES)) {
    if (!holds(fields.get(name))) return { problem: `${SEED_ENTRIES.config}: ${name} is missing or wrong` };
  }
  return data as SeedConfig;
}
