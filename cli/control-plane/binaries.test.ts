import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { controlPlaneBinaries } from './binaries.ts';
import { programPaths, programsDirectory } from './binaries-cache.ts';
import { ControlPlaneError } from './error.ts';
import { goPlatform, KUBERNETES_VERSION, PROGRAMS } from './version.ts';

const exec = promisify(execFile);

/** A release page: an index and one archive, as Kubernetes' own test tools have them. */
class ReleasePage {
  readonly requests: string[] = [];
  sha512 = '';
  archive = Buffer.alloc(0);
  readonly server: Server = createServer((request, response) => {
    this.requests.push(request.url ?? '');
    response.end(request.url === '/index.yaml' ? this.#index() : this.archive);
  });

  async start(dir: string): Promise<string> {
    const programs = join(dir, 'controller-tools', 'envtest');
    await mkdir(programs, { recursive: true });
    for (const program of PROGRAMS) await writeFile(join(programs, program), `#!/bin/sh\necho ${program}\n`);
    await exec('tar', ['-czf', join(dir, 'archive.tar.gz'), '-C', dir, 'controller-tools']);
    this.archive = await readFile(join(dir, 'archive.tar.gz'));
    this.sha512 = createHash('sha512').update(this.archive).digest('hex');
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `${this.#origin()}/index.yaml`;
  }

  #origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  #index(): string {
    const { os, arch } = goPlatform();
    const name = `envtest-${KUBERNETES_VERSION}-${os}-${arch}.tar.gz`;
    return JSON.stringify({
      releases: {
        [KUBERNETES_VERSION]: { [name]: { hash: this.sha512, selfLink: `${this.#origin()}/${name}` } },
      },
    });
  }
}

describe('controlPlaneBinaries', () => {
  let dir: string;
  let page: ReleasePage;
  let env: NodeJS.ProcessEnv;
  const progress: string[] = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'bin-'));
    page = new ReleasePage();
    // The only Go is too old: what cannot be downloaded cannot be had.
    await writeFile(join(dir, 'go'), '#!/bin/sh\necho go1.25.9\n', { mode: 0o755 });
    env = {
      PATH: dir,
      SHOESVZ_CACHE_DIR: join(dir, 'cache'),
      SHOESVZ_ENVTEST_INDEX: await page.start(join(dir, 'page')),
    };
    progress.length = 0;
  });
  afterEach(async () => {
    await new Promise((resolve) => page.server.close(resolve));
    await rm(dir, { recursive: true });
  });

  const get = () => controlPlaneBinaries({ env, progress: (line) => progress.push(line) });
  const failure = async (): Promise<ControlPlaneError> => {
    const error = await get().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error instanceof ControlPlaneError) return error;
    throw new Error(`expected a ControlPlaneError, not ${String(error)}`);
  };

  it('downloads what the index names, once, and makes it executable', async () => {
    const { kubectl } = await get();
    expect((await exec(kubectl, [])).stdout).toBe('kubectl\n');
    expect(page.requests).toHaveLength(2);
    await get();
    expect(page.requests).toHaveLength(2);
    const kept = await readdir(dirname(kubectl));
    expect(kept.sort()).toEqual(['etcd', 'kube-apiserver', 'kubectl', 'manifest.json']);
  });

  it('fills the cache once for two that ask at the same time', async () => {
    const [one, other] = await Promise.all([get(), get()]);
    expect(one).toEqual(other);
    expect(page.requests.filter((url) => url.endsWith('.tar.gz'))).toHaveLength(1);
    expect(progress.filter((line) => line.startsWith('waiting for process'))).toHaveLength(1);
  });

  it('refuses an archive with another hash and leaves nothing of it behind', async () => {
    page.sha512 = 'f'.repeat(128);
    const error = await failure();
    expect(error.reason).toBe('BinariesUnavailable');
    expect(error.message).toContain('does not have the sha512');
    const left = await readdir(dirname(programsDirectory(env)));
    expect(left.filter((name) => !name.includes('.lock'))).toEqual([]);
  });

  it('says in one line what was tried and what to install', async () => {
    env.SHOESVZ_ENVTEST_INDEX = 'http://127.0.0.1:1/index.yaml';
    const { message } = await failure();
    expect(message).not.toContain('\n');
    expect(message).toContain('http://127.0.0.1:1/index.yaml cannot be reached');
    expect(message).toContain(`build: needs Go 1.26 or newer, but ${join(dir, 'go')} is go1.25.9`);
    expect(message).toMatch(
      /install Go 1\.26 or newer, or set KUBEBUILDER_ASSETS to a directory that holds them$/,
    );
  });

  it('throws a program away that was changed, even with its old time stamp', async () => {
    const { etcd } = await get();
    const before = await stat(etcd);
    const file = await open(etcd, 'r+');
    await file.write('X', 3);
    await file.close();
    await utimes(etcd, before.atime, before.mtime);
    await get();
    expect(await readFile(etcd, 'utf8')).toBe('#!/bin/sh\necho etcd\n');
    expect(progress).toContainEqual(expect.stringContaining('etcd is not the file that was put there'));
  });

  it.each([
    ['a missing program', (path: string) => rm(join(path, 'kubectl'))],
    ['a garbled manifest', (path: string) => writeFile(join(path, 'manifest.json'), '{')],
    ['no manifest, as a copy cut short leaves it', (path: string) => rm(join(path, 'manifest.json'))],
  ])('fills the cache anew where it finds %s', async (_, damage) => {
    const { kubectl } = await get();
    await damage(dirname(kubectl));
    await get();
    expect((await exec(kubectl, [])).stdout).toBe('kubectl\n');
  });

  it('removes what a killed process left half-done', async () => {
    const left = `${programsDirectory(env)}.12345.abcdef00.tmp`;
    await mkdir(left, { recursive: true });
    await writeFile(join(left, 'etcd'), 'half');
    await get();
    await expect(stat(left)).rejects.toThrow('ENOENT');
  });

  it('takes a copied cache once it was hashed again', async () => {
    const { kubectl } = await get();
    await exec('cp', ['-r', env.SHOESVZ_CACHE_DIR ?? '', join(dir, 'copy')]);
    env.SHOESVZ_CACHE_DIR = join(dir, 'copy');
    expect((await get()).kubectl).toBe(kubectl.replace(join(dir, 'cache'), join(dir, 'copy')));
    expect(page.requests).toHaveLength(2);
  });

  it('takes KUBEBUILDER_ASSETS as they are, and names what they lack', async () => {
    const assets = join(dir, 'assets');
    await mkdir(assets);
    env.KUBEBUILDER_ASSETS = assets;
    for (const program of PROGRAMS) await writeFile(join(assets, program), '#!/bin/sh\n', { mode: 0o755 });
    expect((await get()).etcd).toBe(programPaths(assets).etcd);
    await chmod(join(assets, 'kube-apiserver'), 0o644);
    expect((await failure()).message).toMatch(
      /^KUBEBUILDER_ASSETS: \S+ holds no executable kube-apiserver; unset it, or name a directory with/,
    );
    expect(page.requests).toEqual([]);
  });

  it('says what to do about a cache directory that cannot be made', async () => {
    await writeFile(join(dir, 'file'), '');
    env.SHOESVZ_CACHE_DIR = join(dir, 'file');
    expect((await failure()).message).toMatch(/set SHOESVZ_CACHE_DIR to a writable directory$/);
  });
});
