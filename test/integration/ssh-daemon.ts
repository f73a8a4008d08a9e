import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { generateSshKeyPair } from '../../node-daemon/ssh/key-pair.ts';
import type { SshTarget } from '../../node-daemon/ssh/session.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';

/** What a guest is made of, as far as a shell program sees it. */
export interface Userland {
  readonly name: string;
  /** What /bin/sh is. Default: the machine's own. */
  readonly shell?: string | undefined;
  /** Programs that come first in PATH: name → what it links to. */
  readonly programs?: Readonly<Record<string, string>> | undefined;
  /** Whether nothing but `programs` is in PATH. */
  readonly only?: boolean | undefined;
}

export interface Sshd {
  readonly target: SshTarget;
  /** Home directory of the user that logs in. */
  readonly home: string;
  /** Ends the connections that stand, as a network does: without telling the commands that run. */
  dropConnections(): Promise<void>;
  stop(): Promise<void>;
}

/** Whether a userland other than the machine's own can be had: it takes a mount namespace. */
export const isRoot = process.getuid?.() === 0;

/**
 * A real OpenSSH server on a loopback port, run by the current user out of the unpacked packages at `root`,
 * with a home directory of its own.
 */
export async function startSshd(root: string, userland: Userland): Promise<Sshd> {
  const dir = await mkdtemp(join(tmpdir(), 'sd-'));
  const home = join(dir, 'home');
  const [key, hostKey] = [generateSshKeyPair(), generateSshKeyPair()];
  const port = await freePort();
  await mkdir(home, { mode: 0o755 });
  await mkdir(join(home, '.ssh'), { mode: 0o700 });
  await writeFile(join(home, '.ssh/authorized_keys'), `${key.publicKey}\n`, { mode: 0o600 });
  await writeFile(join(dir, 'host_key'), hostKey.privateKey, { mode: 0o600 });
  const path = await makePath(dir, userland);
  await writeFile(join(dir, 'sshd_config'), configuration({ dir, home, port, path }));
  const daemon = isRoot
    ? await inNamespace(dir, home, userland, root)
    : spawn(`${root}/usr/sbin/sshd`, ['-D', '-e', '-f', join(dir, 'sshd_config')], daemonOptions(root));
  const target: SshTarget = {
    host: '127.0.0.1',
    port,
    user: userInfo().username,
    privateKey: key.privateKey,
    hostKey: hostKey.publicKey,
  };
  let said = '';
  daemon.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const session = await waitForSsh(target, { timeoutMs: 30_000 }).catch((error: unknown) => {
    daemon.kill('SIGKILL');
    throw new Error(`sshd does not serve: ${said}`, { cause: error });
  });
  session.close();
  return {
    target,
    home,
    dropConnections: () => killSessions(daemon.pid ?? 0),
    stop: async () => {
      await killSessions(daemon.pid ?? 0);
      daemon.kill('SIGKILL');
      if (daemon.exitCode === null && daemon.signalCode === null) await once(daemon, 'exit');
      await killHome(home);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function configuration(of: { dir: string; home: string; port: number; path: string }): string {
  return [
    `Port ${of.port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${of.dir}/host_key`,
    `AuthorizedKeysFile ${of.home}/.ssh/authorized_keys`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
    'MaxStartups 100',
    'LogLevel ERROR',
    `SetEnv HOME=${of.home} PATH=${of.path}`,
    '',
  ].join('\n');
}

function daemonOptions(root: string): SpawnOptions {
  const libraries = ['lib', 'usr/lib'].map((dir) => join(root, dir, TRIPLET[process.arch] ?? ''));
  return {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, LD_LIBRARY_PATH: libraries.join(':') },
  };
}

/** Debian's name for the directory of an architecture's libraries. */
const TRIPLET: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** root's sshd wants a user of its own and /run/sshd: it gets them where nobody else sees them. */
async function inNamespace(
  dir: string,
  home: string,
  userland: Userland,
  root: string,
): Promise<ChildProcess> {
  const passwd = [`root:x:0:0::${home}:/bin/sh`, 'sshd:x:101:65534::/run/sshd:/usr/sbin/nologin', ''].join(
    '\n',
  );
  await writeFile(join(dir, 'passwd'), passwd);
  const shell = userland.shell ?? '/bin/sh';
  const script = `
    mount --bind "$1/passwd" /etc/passwd
    mount -t tmpfs tmpfs /run
    mkdir -m 755 /run/sshd
    mount --bind "$(readlink -f "$2")" "$(readlink -f /bin/sh)"
    exec "$3/usr/sbin/sshd" -D -e -f "$1/sshd_config"`;
  const args = ['--mount', '--propagation', 'private', '/bin/bash', '-ec', script, 'sshd', dir, shell, root];
  return spawn('unshare', args, daemonOptions(root));
}

async function makePath(dir: string, userland: Userland): Promise<string> {
  const bin = join(dir, 'bin');
  await mkdir(bin);
  for (const [name, to] of Object.entries(userland.programs ?? {})) {
    if (to.startsWith('#!')) {
      await writeFile(join(bin, name), to);
      await chmod(join(bin, name), 0o755);
    } else {
      await symlink(to, join(bin, name));
    }
  }
  return userland.only === true ? bin : `${bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`;
}

/** The daemon's own children: one for each connection. */
async function killSessions(daemon: number): Promise<void> {
  for (const pid of await childrenOf(daemon)) {
    for (const child of await childrenOf(pid)) kill(child);
    kill(pid);
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

/** Everything that was started in the home and may have outlived its connection. */
async function killHome(home: string): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '');
    if (environment.split('\0').includes(`HOME=${home}`)) kill(Number(name));
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
