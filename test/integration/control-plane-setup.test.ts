import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const bootstrap = (root: string, env: NodeJS.ProcessEnv): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(
      '/bin/sh',
      ['cli/setup/bootstrap.sh'],
      { cwd: root, env, timeout: 30_000 },
      (error, stdout, stderr) =>
        resolve({
          code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
          stdout,
          stderr,
        }),
    );
  });

describe('bootstrap.sh', () => {
  let clone: string;
  beforeEach(async () => {
    clone = await mkdtemp(join(tmpdir(), 'clone-'));
    for (const file of ['package.json', 'package-lock.json', 'cli/setup']) {
      await cp(join(ROOT, file), join(clone, file), { recursive: true });
    }
  });
  afterEach(() => rm(clone, { recursive: true }));

  it('says in one line that npm is missing', async () => {
    await mkdir(join(clone, 'bin'));
    for (const program of ['dirname', 'cmp', 'flock']) {
      await symlink(`/usr/bin/${program}`, join(clone, 'bin', program));
    }
    expect(await bootstrap(clone, { PATH: join(clone, 'bin') })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'shoes-vz: npm is not in PATH: install Node.js 20 or newer with npm\n',
    });
  });

  it('finds what is installed already, whoever installed it, and is silent about it', async () => {
    await mkdir(join(clone, 'node_modules'));
    for (const name of ['.bin', '.package-lock.json']) {
      await symlink(join(ROOT, 'node_modules', name), join(clone, 'node_modules', name));
    }
    const env = { PATH: process.env.PATH };
    for (const time of ['first', 'second']) {
      expect(await bootstrap(clone, env), time).toEqual({ code: 0, stdout: '', stderr: '' });
    }
  });
});
