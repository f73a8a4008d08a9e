import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TIMEOUT_MS = 120_000;

/** What the tests need of Debian without installing it: an installed SSH server would begin to serve. */
const PACKAGES = ['openssh-server', 'libwrap0', 'busybox'];

export type Unpacked = { readonly root: string } | { readonly root: undefined; readonly why: string };

/** Root of a directory with the packages' files, downloaded once for all runs; or why there is none. */
export async function unpackSshPackages(): Promise<Unpacked> {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const parent = join(cache, 'shoes-vz');
  const root = join(parent, 'test-sshd');
  if (await exists(join(root, 'usr/sbin/sshd'))) return { root };
  try {
    await mkdir(parent, { recursive: true });
    const work = await mkdtemp(join(parent, 'test-sshd-'));
    await run('apt-get', ['download', ...PACKAGES], { cwd: work, timeout: TIMEOUT_MS });
    const unpacked = join(work, 'root');
    for (const name of await readdir(work)) {
      if (name.endsWith('.deb'))
        await run('dpkg-deb', ['-x', name, unpacked], { cwd: work, timeout: TIMEOUT_MS });
    }
    // Somebody else may have been faster: theirs is as good.
    await rename(unpacked, root).catch(() => access(root));
    await rm(work, { recursive: true, force: true });
    return { root };
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
    return { root: undefined, why: `no Debian package of an SSH server can be had: ${why}` };
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
