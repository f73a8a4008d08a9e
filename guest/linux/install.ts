import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { identityOf } from '../identity.ts';
import { dropbearPrivateKey, parseOpensshEd25519 } from '../openssh-key.ts';
import type { Seed } from '../seed.ts';

/** Under /run: gone with the boot, so the next one installs its seed anew. */
export const HOST_KEY = 'run/shoesvz/dropbear_ed25519_host_key';
export const IDENTITY = 'run/shoesvz/identity.json';

/**
 * Makes the system under `root` the machine that the seed describes. Idempotent. Throws where any part fails. The
 * identity comes last: where it is, all is.
 */
export function installLinux(seed: Seed, root: string): void {
  const { config } = seed;
  const key = parseOpensshEd25519(seed.hostKey);
  if (key === undefined) throw new Error('the host key is not a plain ed25519 key');
  const user = userOf(readFileSync(join(root, 'etc/passwd'), 'utf8'), config.user);
  if (user === undefined) throw new Error(`there is no user ${config.user}`);
  mkdirSync(join(root, 'run/shoesvz'), { recursive: true, mode: 0o755 });
  replaceFile(join(root, HOST_KEY), dropbearPrivateKey(key), 0o600);
  authorize(join(root, user.home), seed.authorizedKeys);
  nameHost(root, config.hostname);
  replaceFile(join(root, IDENTITY), `${JSON.stringify(identityOf(config))}\n`, 0o644);
}

/** Only the keys of the seed open the machine from now on. */
function authorize(home: string, authorizedKeys: string): void {
  const { uid, gid } = statSync(home);
  const directory = join(home, '.ssh');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const file = join(directory, 'authorized_keys');
  replaceFile(file, authorizedKeys, 0o600);
  chownSync(directory, uid, gid);
  chownSync(file, uid, gid);
}

function nameHost(root: string, hostname: string): void {
  replaceFile(join(root, 'etc/hostname'), `${hostname}\n`, 0o644);
  replaceFile(join(root, 'etc/hosts'), `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${hostname}\n`, 0o644);
  writeFileSync(join(root, 'proc/sys/kernel/hostname'), hostname);
}

/** Home directory of a user of /etc/passwd, relative to the root directory. */
function userOf(passwd: string, name: string): { home: string } | undefined {
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(([user]) => user === name);
  const home = fields?.[5];
  return home === undefined || !home.startsWith('/') ? undefined : { home: home.slice(1) };
}

/** Readers see the old file or the new one. */
function replaceFile(path: string, content: string | Buffer, mode: number): void {
  const temporary = `${path}.shoesvz`;
  writeFileSync(temporary, content, { mode });
  chmodSync(temporary, mode);
  renameSync(temporary, path);
}
