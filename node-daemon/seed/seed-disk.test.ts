import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { SeedConfig } from '../../guest/protocol.ts';
import { makeIdentity } from './identity.ts';
import { type SeedContents, writeSeedDisk } from './seed-disk.ts';

const run = promisify(execFile);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'seed-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const config = {
  version: 1,
  hostname: 'runner-1',
  user: 'runner',
  token: 'ab'.repeat(32),
  notifyUrl: 'http://10.0.2.2:8081',
  agentPort: 8080,
  uid: 'u-1',
  attempt: 1,
} satisfies SeedConfig;

function contents(): SeedContents {
  const { hostKey, runnerKey } = makeIdentity();
  return { config, hostKey, authorizedKeys: `${runnerKey.publicKey}\n` };
}

test('is an archive that GNU tar reads and whose checksums hold', async () => {
  const path = join(dir, 'seed.img');
  const written = contents();
  await writeSeedDisk(path, written);
  const { stdout } = await run('tar', ['--list', '--verbose', '--file', path]);
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/))
      .map((fields) => [fields[0], fields.at(-1)]),
  ).toEqual(
    ['seed.json', 'ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub', 'authorized_keys', 'SHA256SUMS'].map(
      (name) => ['-rw-------', name],
    ),
  );
  await run('tar', ['--extract', '--file', path, '--directory', dir]);
  await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: dir });
  expect(JSON.parse(await readFile(join(dir, 'seed.json'), 'utf8'))).toEqual(config);
  expect(await readFile(join(dir, 'ssh_host_ed25519_key'), 'utf8')).toBe(written.hostKey.privateKey);
  expect(await readFile(join(dir, 'authorized_keys'), 'utf8')).toBe(written.authorizedKeys);
});

test('is a disk of whole sectors that only its owner reads', async () => {
  const path = join(dir, 'seed.img');
  await writeSeedDisk(path, contents());
  const { size, mode } = await stat(path);
  expect(size).toBeGreaterThanOrEqual(65_536);
  expect(size % 512).toBe(0);
  expect(mode & 0o777).toBe(0o600);
});

test('replaces what was there, whatever its mode, and leaves nothing beside it', async () => {
  const path = join(dir, 'seed.img');
  await writeFile(path, 'old', { mode: 0o644 });
  await writeSeedDisk(path, contents());
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(dir)).toEqual(['seed.img']);
});

test('leaves nothing where it fails', async () => {
  await expect(writeSeedDisk(join(dir, 'missing', 'seed.img'), contents())).rejects.toThrow('ENOENT');
  expect(await readdir(dir)).toEqual([]);
});
