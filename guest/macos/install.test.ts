import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Seed } from '../seed.ts';
import { identifyMac } from './install.ts';

const SEED = {
  config: {
    version: 1,
    hostname: 'runner_1.example',
    user: 'runner',
    token: 'ab'.repeat(32),
    notifyUrl: 'http://192.168.64.1:8081',
    agentPort: 8080,
    uid: 'u-1',
    attempt: 2,
  },
  hostKey: 'private\n',
  hostKeyPublic: 'ssh-ed25519 AAAA',
  authorizedKeys: 'ssh-ed25519 BBBB\n',
} satisfies Seed;

let root: string;
let commands: string[];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'mac-'));
  commands = [];
  await mkdir(join(root, 'etc/ssh'), { recursive: true });
  await mkdir(join(root, 'Users/runner'), { recursive: true });
  for (const name of ['ssh_host_rsa_key', 'ssh_host_rsa_key.pub', 'ssh_host_ed25519_key', 'sshd_config']) {
    await writeFile(join(root, 'etc/ssh', name), "the template's");
  }
});
afterEach(() => rm(root, { recursive: true, force: true }));

const command = async (file: string, ...args: string[]): Promise<string> => {
  commands.push([file, ...args].join(' '));
  return '';
};
const text = (path: string): Promise<string> => readFile(join(root, path), 'utf8');

test('replaces keys, names the machine, starts SSH, and writes the identity last', async () => {
  await identifyMac(SEED, root, command);
  expect((await readdir(join(root, 'etc/ssh'))).sort()).toEqual([
    'ssh_host_ed25519_key',
    'ssh_host_ed25519_key.pub',
    'sshd_config',
  ]);
  expect(await text('etc/ssh/ssh_host_ed25519_key')).toBe('private\n');
  expect((await stat(join(root, 'etc/ssh/ssh_host_ed25519_key'))).mode & 0o777).toBe(0o600);
  expect(await text('Users/runner/.ssh/authorized_keys')).toBe('ssh-ed25519 BBBB\n');
  expect(commands).toContain('/usr/sbin/scutil --set LocalHostName runner-1-example');
  expect(commands.at(-1)).toBe('/bin/launchctl bootstrap system /System/Library/LaunchDaemons/ssh.plist');
  const identity = { uid: 'u-1', attempt: 2, hostname: 'runner_1.example' };
  expect(JSON.parse(await text('var/run/shoesvz/identity.json'))).toEqual(identity);
  expect([...commands, await text('var/run/shoesvz/identity.json')].join()).not.toContain(SEED.config.token);
});

test('does nothing in a boot that has its identity', async () => {
  await identifyMac(SEED, root, command);
  commands = [];
  await writeFile(join(root, 'Users/runner/.ssh/authorized_keys'), "the job's\n");
  await identifyMac(SEED, root, command);
  expect(commands).toEqual([]);
  expect(await text('Users/runner/.ssh/authorized_keys')).toBe("the job's\n");
});

test('does not start SSH and leaves no identity where a part fails', async () => {
  await rm(join(root, 'Users/runner'), { recursive: true });
  await expect(identifyMac(SEED, root, command)).rejects.toThrow('ENOENT');
  expect(commands).toEqual([]);
  await expect(text('var/run/shoesvz/identity.json')).rejects.toThrow('ENOENT');
});
