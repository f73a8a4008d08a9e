import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, symlink, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import ssh2 from 'ssh2';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';
import { writeSeedDisk } from '../../node-daemon/seed/seed-disk.ts';
import type { VmBackend } from '../../node-daemon/vm/backend.ts';
import { BundleStore } from '../../node-daemon/vm/bundle.ts';
import type { ContractMachine } from '../../node-daemon/vm/contract.ts';
import type { BundlePaths, PreparedVm, VmControl, VmSpec } from '../../node-daemon/vm/driver.ts';
import { systemProcesses } from '../../node-daemon/vm/process.ts';
import { QemuDriver, type QemuDriverOptions } from '../../node-daemon/vm/qemu/driver.ts';
import { startVm } from '../../node-daemon/vm/start.ts';

const run = promisify(execFile);

export interface QemuMachine extends ContractMachine {
  readonly root: string;
}

/** A host root with one template, which is a link unless it is to be copied. */
export async function makeQemuMachine(
  template: string,
  options: Partial<QemuDriverOptions> = {},
  { parent, copy }: { readonly parent: string; readonly copy: boolean } = { parent: tmpdir(), copy: false },
): Promise<QemuMachine> {
  const root = await mkdtemp(join(parent, 'sv-'));
  const templateDir = join(root, 'templates', 'guest');
  await mkdir(join(root, 'runners'));
  await mkdir(join(root, 'templates'));
  if (copy) await run('cp', ['-a', '--sparse=always', `${template}/.`, templateDir]);
  else await symlink(template, templateDir);
  const backendOf = (): VmBackend => {
    const [bundles, processes] = [new BundleStore(root), systemProcesses()];
    return { bundles, processes, driver: new QemuDriver({ bundles, processes, ...options }) };
  };
  const backend = backendOf();
  return {
    root,
    backend,
    templateDir,
    restarted: backendOf,
    brokenTemplate: async () => {
      const dir = join(root, 'templates', 'broken');
      await mkdir(dir);
      const names = (await readdir(template)).filter((name) => name !== 'kernel');
      await Promise.all(names.map((name) => symlink(join(template, name), join(dir, name))));
      return { dir, missing: 'kernel' };
    },
    killProcess: async (bundle) => {
      const found = await backend.processes.find(bundle);
      if (found.state !== 'present') throw new Error(`no process to kill: ${found.state}`);
      for (const { pid } of found.processes) process.kill(pid, 'SIGKILL');
    },
    loseSocket: (bundle) => unlink(bundle.controlSocket),
    occupy,
    dispose: async () => {
      const { bundles } = await backend.bundles.list();
      await Promise.all(bundles.map((bundle) => backend.driver.purge(bundle)));
      await rm(root, { recursive: true, force: true });
    },
  };
}

export interface Guest {
  readonly bundle: BundlePaths;
  readonly prepared: PreparedVm;
  /** What host and guest know each other by. */
  readonly token: string;
  /** The login key that the seed disk lets in. */
  readonly privateKey: string;
}

const MIB = 2 ** 20;

export interface EmptyBundle {
  readonly bundle: BundlePaths;
  readonly spec: VmSpec;
}

export async function createBundle(
  { backend, templateDir }: QemuMachine,
  seedDisk = false,
): Promise<EmptyBundle> {
  const identity = { uid: randomUUID(), attempt: 1, hostUid: randomUUID() };
  const bundle = await backend.bundles.create({
    identity,
    runner: { namespace: 'default', name: 'guest' },
    template: { name: 'guest', digest: '' },
    createdAt: 1,
  });
  const spec: VmSpec = {
    identity,
    templateDir,
    resources: { cpu: 2, memoryBytes: 512 * MIB, diskBytes: 3072 * MIB },
    guestPorts: { ssh: 22, agent: 8080 },
    notifyPort: 8081,
    seedDisk,
  };
  return { bundle, spec };
}

/** A VM with a seed disk, ready to be started. */
export async function createGuest(machine: QemuMachine): Promise<Guest> {
  const { bundle, spec } = await createBundle(machine, true);
  const prepared = await machine.backend.driver.prepare(bundle, spec, new AbortController().signal);
  const keys = makeIdentity();
  const token = randomBytes(32).toString('hex');
  const { uid, attempt } = spec.identity;
  const { notifyUrl } = prepared.endpoints;
  await writeSeedDisk(bundle.seed, {
    config: {
      version: 1,
      hostname: 'guest',
      user: 'runner',
      token,
      notifyUrl,
      agentPort: 8080,
      uid,
      attempt,
    },
    hostKey: keys.hostKey,
    authorizedKeys: `${keys.runnerKey.publicKey}\n`,
  });
  return { bundle, prepared, token, privateKey: keys.runnerKey.privateKey };
}

export async function startGuest({ backend }: QemuMachine, guest: Guest): Promise<VmControl> {
  return (await startVm(backend, guest.bundle, guest.prepared, Date.now)).control;
}

/** Standard output of a command in the guest, over SSH with the key of the seed disk. */
export async function inGuest({ prepared, privateKey }: Guest, command: string): Promise<string> {
  const { host, port } = prepared.endpoints.ssh;
  const client = new ssh2.Client();
  const ready = new Promise<void>((resolve, reject) => {
    client.once('ready', resolve);
    client.once('error', reject);
    client.once('close', () => reject(new Error('the SSH connection was closed')));
  });
  try {
    client.connect({ host, port, username: 'runner', privateKey, readyTimeout: 10_000 });
    await ready;
    const channel = await promisify<string, ssh2.ClientChannel>(client.exec.bind(client))(command);
    channel.stderr.resume();
    return (await text(channel)).trim();
  } finally {
    client.destroy();
  }
}

async function occupy(host: string, port: number): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  return () => new Promise((resolve) => server.close(() => resolve()));
}
