import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { SEED_ENTRIES, type SeedConfig } from './protocol.ts';
import { parseSeed } from './seed.ts';

const CONFIG = {
  version: 1,
  hostname: 'runner-1',
  user: 'runner',
  token: 'ab'.repeat(32),
  notifyUrl: 'http://10.0.2.2:8081',
  agentPort: 8080,
  uid: '7d2f0f6e-0000-4000-8000-000000000001',
  attempt: 1,
} satisfies SeedConfig;

const HOST_KEY = '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n';
const PUBLIC_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF4a';

type Files = Record<string, string>;

const wholeSeed = (config: object = CONFIG): Files => ({
  [SEED_ENTRIES.config]: JSON.stringify(config),
  [SEED_ENTRIES.hostKey]: HOST_KEY,
  [SEED_ENTRIES.hostKeyPublic]: `${PUBLIC_KEY}\n`,
  [SEED_ENTRIES.authorizedKeys]: `${PUBLIC_KEY} runner\n`,
});

function checksummed(files: Files): Files {
  const lines = Object.entries(files).map(
    ([name, text]) => `${createHash('sha256').update(text).digest('hex')}  ${name}\n`,
  );
  return { ...files, [SEED_ENTRIES.checksums]: lines.join('') };
}

async function disk(files: Files): Promise<Buffer> {
  const archive = pack();
  for (const [name, text] of Object.entries(files)) archive.entry({ name }, text);
  archive.finalize();
  return buffer(archive);
}

const parseFiles = async (files: Files) => parseSeed(await disk(checksummed(files)));

describe('parseSeed', () => {
  test('returns all of a whole seed', async () => {
    expect(await parseFiles(wholeSeed())).toEqual({
      config: CONFIG,
      hostKey: HOST_KEY,
      hostKeyPublic: PUBLIC_KEY,
      authorizedKeys: `${PUBLIC_KEY} runner\n`,
    });
  });

  test.each(Object.values(SEED_ENTRIES))('says that %s is missing', async (name) => {
    const { [name]: _, ...rest } = checksummed(wholeSeed());
    expect(parseSeed(await disk(rest))).toEqual({ problem: `${name} is missing` });
  });

  test.each([
    ['version', 2],
    ['hostname', ''],
    ['hostname', 'a b'],
    ['hostname', `${'a'.repeat(64)}`],
    ['user', 'root:x'],
    ['token', 'secret'],
    ['notifyUrl', 'https://host/path'],
    ['agentPort', 0],
    ['agentPort', '8080'],
    ['uid', '../x'],
    ['attempt', 0],
    ['attempt', undefined],
  ] as const)('refuses a %s of %j, without repeating it', async (field, value) => {
    const problem = `seed.json: ${field} is missing or wrong`;
    expect(await parseFiles(wholeSeed({ ...CONFIG, [field]: value }))).toEqual({ problem });
  });

  test.each([
    [SEED_ENTRIES.config, '{', 'seed.json is not JSON'],
    [SEED_ENTRIES.config, 'null', 'seed.json is not an object'],
    [SEED_ENTRIES.hostKey, 'key', 'ssh_host_ed25519_key is not an OpenSSH private key'],
    [SEED_ENTRIES.hostKeyPublic, 'key', 'ssh_host_ed25519_key.pub is not a public key'],
    [SEED_ENTRIES.authorizedKeys, '', 'authorized_keys is not a list of public keys'],
    [
      SEED_ENTRIES.authorizedKeys,
      `${PUBLIC_KEY}\nrm -rf /\n`,
      'authorized_keys is not a list of public keys',
    ],
  ])('refuses %s with the text %j', async (name, text, problem) => {
    expect(await parseFiles({ ...wholeSeed(), [name]: text })).toEqual({ problem });
  });

  test('never acts on a damaged disk: any altered byte leaves the same seed or none', async () => {
    const whole = await disk(checksummed(wholeSeed()));
    const expected = parseSeed(whole);
    fc.assert(
      fc.property(
        fc.nat({ max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        fc.integer({ min: 0, max: whole.length }),
        (offset, change, length) => {
          const altered = Buffer.from(whole);
          altered.writeUInt8(altered.readUInt8(offset) ^ change, offset);
          for (const bytes of [altered, altered.subarray(0, length)]) {
            const result = parseSeed(bytes);
            if (!('problem' in result)) expect(result).toEqual(expected);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
