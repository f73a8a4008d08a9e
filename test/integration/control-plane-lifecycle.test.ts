import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { RUNNERS } from '../../crds/resources.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { startTestControlPlane, type TestControlPlane, testNamespace } from '../harness/control-plane.ts';

const onLinux = process.platform === 'linux';
const quiet = () => undefined;

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const clientOf = (controlPlane: { readonly kubeconfigPath: string }) =>
  loadKubeClient({ kubeconfigPath: controlPlane.kubeconfigPath, userAgent: 'shoes-vz-test/0' });

/** Status of a request without credentials; the server's certificate is checked. */
async function anonymousStatus(controlPlane: TestControlPlane, path: string): Promise<number | undefined> {
  const ca = await readFile(join(controlPlane.dataDir, 'pki', 'ca.crt'));
  const call = request(`${controlPlane.server}${path}`, { ca });
  call.end();
  const [response] = await once(call, 'response');
  response.resume();
  return response.statusCode;
}

/** `address:port` of every TCP socket on which a process listens, from /proc. */
async function listeningSockets(pid: number): Promise<string[]> {
  const inodes = new Set<string>();
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const LISTEN = '0A';
  const sockets: string[] = [];
  for (const table of ['tcp', 'tcp6']) {
    for (const line of (await readFile(`/proc/${pid}/net/${table}`, 'utf8')).split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      if (state === LISTEN && inodes.has(inode)) sockets.push(local);
    }
  }
  return sockets;
}

/** As /proc/net/tcp writes an IPv4 endpoint. */
function hexEndpoint(url: string): string {
  const { hostname, port } = new URL(url);
  const bytes = hostname.split('.').reverse();
  const hex = (text: string, digits: number) => Number(text).toString(16).toUpperCase().padStart(digits, '0');
  return `${bytes.map((byte) => hex(byte, 2)).join('')}:${hex(port, 4)}`;
}

describe('a control plane', () => {
  let parent: string;
  let controlPlane: TestControlPlane;
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'svz-'));
    // Longer than any unix socket's path may be.
    const dataDir = join(parent, 'deep'.repeat(30), 'data');
    controlPlane = await startTestControlPlane({ dataDir });
  });
  afterAll(async () => {
    await controlPlane.destroy();
    await rm(parent, { recursive: true, force: true });
  });

  it('refuses those who show no certificate', async () => {
    for (const path of ['/api', '/version', '/readyz', '/apis/shoesvz.dev/v1alpha1/runners']) {
      expect(await anonymousStatus(controlPlane, path), path).toBe(401);
    }
  });

  it('keeps what it writes from other users', async () => {
    const { dataDir } = controlPlane;
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, 'etcd'))).mode & 0o777).toBe(0o700);
    expect((await stat(controlPlane.kubeconfigPath)).mode & 0o777).toBe(0o600);
  });

  it.runIf(onLinux)('opens one TCP port, on an address apart from 127.0.0.1, and none for etcd', async () => {
    const { etcd, kubeApiserver } = controlPlane.pids;
    expect(await listeningSockets(etcd)).toEqual([]);
    expect(await listeningSockets(kubeApiserver)).toEqual([hexEndpoint(controlPlane.server)]);
    expect(new URL(controlPlane.server).hostname).not.toBe('127.0.0.1');
  });

  it.runIf(onLinux)('has no secret in the arguments of its processes', async () => {
    for (const pid of Object.values(controlPlane.pids)) {
      expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).not.toContain('PRIVATE');
    }
  });

  it('is refused a second time on the same directory, in one line that names its owner', async () => {
    const second = startControlPlane({ dataDir: controlPlane.dataDir, log: quiet });
    await expect(second).rejects.toMatchObject({
      reason: 'DataDirInUse',
      message: `data directory: ${controlPlane.dataDir} is in use by process ${process.pid}; stop that one, or choose another directory`,
    });
    expect(isRunning(controlPlane.pids.kubeApiserver)).toBe(true);
  });

  it('keeps data, port and credentials over a restart, while watchers are connected', async () => {
    const client = clientOf(controlPlane);
    const namespace = await testNamespace(client);
    const { signal } = new AbortController();
    const events = client.collection(RUNNERS).watch({ initialEvents: true, timeoutSeconds: 600, signal });
    await events[Symbol.asyncIterator]().next();
    const [kubeconfig, before] = [await readFile(controlPlane.kubeconfigPath, 'utf8'), controlPlane];
    await controlPlane.stop();
    expect(Object.values(before.pids).filter(isRunning)).toEqual([]);
    expect(await before.exited).toEqual({ kind: 'stopped' });
    await client.close();
    controlPlane = await before.restart();
    expect(controlPlane.server).toBe(before.server);
    expect(await readFile(controlPlane.kubeconfigPath, 'utf8')).toBe(kubeconfig);
    const again = clientOf(controlPlane);
    expect(JSON.parse(await again.raw(`/api/v1/namespaces/${namespace}`))).toMatchObject({
      status: { phase: 'Active' },
    });
    await again.close();
  });

  it.each(['kubeApiserver', 'etcd'] as const)(
    'ends as a whole, and says why, when %s is killed',
    async (name) => {
      process.kill(controlPlane.pids[name], 'SIGKILL');
      expect(await controlPlane.exited).toEqual({
        kind: 'failed',
        message: expect.stringMatching(/^(kube-apiserver|etcd) was ended by SIGKILL/),
      });
      expect(Object.values(controlPlane.pids).filter(isRunning)).toEqual([]);
      controlPlane = await controlPlane.restart();
    },
  );

  it('refuses a port that is taken, leaves nothing running and the directory free', async () => {
    await controlPlane.stop();
    const { hostname, port } = new URL(controlPlane.server);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(Number(port), hostname, resolve));
    await expect(controlPlane.restart()).rejects.toMatchObject({
      reason: 'PortTaken',
      message: expect.stringMatching(/^port: \d+ on \S+ is used by another process; choose another/),
    });
    const elsewhere = await startTestControlPlane({ dataDir: controlPlane.dataDir });
    expect(elsewhere.server).not.toBe(controlPlane.server);
    await elsewhere.stop();
    await new Promise((resolve) => other.close(resolve));
    controlPlane = await controlPlane.restart();
  });
});

describe('a control plane whose owner is killed', () => {
  let dataDir: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'svz-'));
  });
  afterAll(() => rm(dataDir, { recursive: true, force: true }));

  const OWNER = `
    const { startControlPlane } = await import(${JSON.stringify(new URL('../../cli/control-plane/control-plane.ts', import.meta.url).href)});
    const { pids } = await startControlPlane({ dataDir: process.argv[1], log: () => undefined });
    console.log(JSON.stringify(pids));
  `;

  it('leaves no process behind, and its directory to the next', async () => {
    const owner = spawn(process.execPath, ['--input-type=module', '-e', OWNER, dataDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface(owner.stdout), 'line');
    const pids: Record<string, number> = JSON.parse(line);
    expect(Object.values(pids).filter(isRunning)).toHaveLength(2);
    const closed = once(owner, 'close');
    owner.kill('SIGKILL');
    await closed;
    if (onLinux)
      await expect.poll(() => Object.values(pids).filter(isRunning), { timeout: 10_000 }).toEqual([]);
    const next = await startTestControlPlane({ dataDir });
    expect(Object.values(pids).filter(isRunning)).toEqual([]);
    await next.destroy();
  });
});

describe('startControlPlane', () => {
  it('says in one line what is wrong with a data directory', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'svz-'));
    const dataDir = join(parent, 'file');
    await writeFile(dataDir, '');
    await expect(startControlPlane({ dataDir, log: quiet })).rejects.toMatchObject({
      reason: 'BadDataDir',
      message: expect.stringMatching(/^data directory: \S+ cannot be used \(E.*\); choose a directory/),
    });
    await rm(parent, { recursive: true });
  });

  it('passes on why etcd does not start, and kills what it started', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'svz-'));
    const wal = join(dataDir, 'etcd', 'data', 'member', 'wal');
    await mkdir(wal, { recursive: true, mode: 0o700 });
    await writeFile(join(wal, '0000000000000000-0000000000000000.wal'), 'no write-ahead log');
    await expect(startControlPlane({ dataDir, log: quiet })).rejects.toMatchObject({
      reason: 'StartFailed',
      message: expect.stringMatching(/^etcd ended with exit code \d+: .+/),
    });
    const next = startControlPlane({ dataDir, log: quiet });
    await expect(next).rejects.toMatchObject({ reason: 'StartFailed' });
    await rm(dataDir, { recursive: true });
  });

  it('writes an audit log that tells who did what, without bodies', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'svz-'));
    const auditLog = join(dataDir, 'audit.log');
    const controlPlane = await startTestControlPlane({ dataDir, auditLog });
    const client = clientOf(controlPlane);
    const namespace = await testNamespace(client);
    const events = async () =>
      (await readFile(auditLog, 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter((event) => event.verb === 'create' && event.objectRef?.name === namespace);
    await expect.poll(events, { timeout: 10_000 }).toHaveLength(1);
    const [event] = await events();
    expect(event).toMatchObject({ level: 'Metadata', user: { username: 'shoes-vz-admin' } });
    expect(event).not.toHaveProperty('requestObject');
    await client.close();
    await controlPlane.destroy();
  });
});
