import { chmod, chown, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestIdentity } from '../identity.ts';
import type { Seed } from '../seed.ts';
import type { Command } from './command.ts';

/** Under /var/run: gone with the boot, so the next one installs its seed anew. */
const IDENTITY = 'var/run/shoesvz/identity.json';
const SSH_DIRECTORY = 'etc/ssh';
const SSH_SERVICE = '/System/Library/LaunchDaemons/ssh.plist';

/**
 * Makes the system under `root` the VM that the seed describes and starts its SSH server, which the template has
 * disabled. Nothing is done where this boot has done it. The identity comes last: where it is, all is.
 */
export async function identifyMac(seed: Seed, root: string, command: Command): Promise<void> {
  const identityFile = join(root, IDENTITY);
  if (await exists(identityFile)) return;
  const { hostname, user, uid, attempt } = seed.config;
  await installHostKey(join(root, SSH_DIRECTORY), seed);
  await authorize(join(root, 'Users', user), seed.authorizedKeys);
  const label = hostname.replaceAll(/[^A-Za-z0-9-]/g, '-');
  await command('/usr/sbin/scutil', '--set', 'HostName', hostname);
  await command('/usr/sbin/scutil', '--set', 'LocalHostName', label);
  await command('/usr/sbin/scutil', '--set', 'ComputerName', hostname);
  await command('/bin/launchctl', 'enable', 'system/com.openssh.sshd');
  // Fails where the service is loaded already; whether it listens is looked at anyway.
  await command('/bin/launchctl', 'bootstrap', 'system', SSH_SERVICE).catch(() => undefined);
  await mkdir(join(root, 'var/run/shoesvz'), { recursive: true });
  const identity = { uid, attempt, hostname } satisfies GuestIdentity;
  await replaceFile(identityFile, `${JSON.stringify(identity)}\n`, 0o644);
}

/** The template's keys of other types go too: macOS makes new ones when its SSH server first starts. */
async function installHostKey(directory: string, seed: Seed): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^ssh_host_.*_key(\.pub)?$/.test(name)) await rm(join(directory, name));
  }
  await replaceFile(join(directory, 'ssh_host_ed25519_key'), seed.hostKey, 0o600);
  await replaceFile(join(directory, 'ssh_host_ed25519_key.pub'), `${seed.hostKeyPublic}\n`, 0o644);
}

/** Only the keys of the seed open the machine from now on. */
async function authorize(home: string, authorizedKeys: string): Promise<void> {
  const { uid, gid } = await stat(home);
  const directory = join(home, '.ssh');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const file = join(directory, 'authorized_keys');
  await replaceFile(file, authorizedKeys, 0o600);
  await chown(directory, uid, gid);
  await chown(file, uid, gid);
}

/** Readers see the old file or the new one. */
async function replaceFile(path: string, content: string, mode: number): Promise<void> {
  const temporary = `${path}.shoesvz`;
  await rm(temporary, { force: true });
  await writeFile(temporary, content, { mode });
  await chmod(temporary, mode);
  await rename(temporary, path);
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
