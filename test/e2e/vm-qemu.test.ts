import { execFile } from 'node:child_process';
import { readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest';
import type { GuestStatus } from '../../guest/protocol.ts';
import { vmDriverContract } from '../../node-daemon/vm/contract.ts';
import type { PreparedVm, VmControl } from '../../node-daemon/vm/driver.ts';
import { bootFailure, chooseAccelerator } from '../../node-daemon/vm/qemu/accelerator.ts';
import { inspectInstallation } from '../../node-daemon/vm/qemu/installation.ts';
import type { QemuNetwork } from '../../node-daemon/vm/qemu/network.ts';
import { readBootableTemplate } from '../../node-daemon/vm/qemu/template-files.ts';
import { observeVm } from '../../node-daemon/vm/recover.ts';
import { startVm } from '../../node-daemon/vm/start.ts';
import { mountReflinkVolume } from '../harness/reflink-volume.ts';
import { until } from '../harness/until.ts';
import {
  createBundle,
  createGuest,
  type Guest,
  inGuest,
  makeQemuMachine,
  type QemuMachine,
  startGuest,
} from './vm-qemu-machine.ts';

const execute = promisify(execFile);

const TEMPLATE = join(inject('templatesDir'), 'debian');

/** Gone when the test is, however it ended. */
async function machineFor(...options: Parameters<typeof makeQemuMachine>): Promise<QemuMachine> {
  const machine = await makeQemuMachine(...options);
  onTestFinished(() => machine.dispose());
  return machine;
}

/** Found once: a probe may take as long as a guest that hangs. */
let accelerator: 'kvm' | 'tcg';
beforeAll(async () => {
  const machine = await makeQemuMachine(TEMPLATE);
  accelerator = (await machine.backend.driver.probe()).accelerator === 'kvm' ? 'kvm' : 'tcg';
  await machine.dispose();
});

vmDriverContract('qemu', () => makeQemuMachine(TEMPLATE, { accelerator }));

describe('a guest', () => {
  let machine: QemuMachine;
  let guest: Guest;
  let control: VmControl;
  beforeEach(async () => {
    machine = await makeQemuMachine(TEMPLATE, { accelerator });
    guest = await createGuest(machine);
    control = await startGuest(machine, guest);
  });
  afterEach(async () => {
    control.close();
    await machine.dispose();
  });

  test('is what its class, its bundle and its seed disk say, and outlives its daemon', async () => {
    const { bundle, prepared, token } = guest;
    const { cpu, memoryBytes, diskBytes } = prepared.spec.resources;
    await until('an SSH banner', async () => (await banner(prepared)).startsWith('SSH-2.0-'));
    expect(await inGuest(guest, 'nproc')).toBe(String(cpu));
    expect(await inGuest(guest, 'cat /sys/class/block/vda/size')).toBe(String(diskBytes / 512));
    const memory = Number(await inGuest(guest, "awk '/MemTotal/ {print $2 * 1024}' /proc/meminfo"));
    expect(memory).toBeLessThanOrEqual(memoryBytes);
    expect(memory).toBeGreaterThan(memoryBytes * 0.8);
    expect(await inGuest(guest, 'cat /sys/class/block/vdb/serial')).toBe('shoesvz-seed');
    expect(await inGuest(guest, 'cat /sys/class/block/vdb/ro')).toBe('1');
    const before = await status(prepared, token);
    expect(before).toMatchObject({ uid: bundle.uid, attempt: 1, mac: prepared.endpoints.mac });
    control.close();
    const adopted = await observeVm(machine.restarted(), bundle);
    if (adopted.state !== 'present') throw new Error(`it is ${adopted.state}`);
    const after = await status(prepared, token);
    expect(after.bootId).toBe(before.bootId);
    expect(after.uptimeSeconds).toBeGreaterThanOrEqual(before.uptimeSeconds);
    adopted.control.close();
  });

  test('that is told to stop shuts down, and is absent', async () => {
    await until('an SSH banner', async () => (await banner(guest.prepared)).startsWith('SSH-2.0-'));
    let closed = false;
    void control.closed.then(() => {
      closed = true;
    });
    // SSH answers before the guest listens to its power button: what is asked before is not heard.
    await until('the guest to shut down', async () => {
      if (!closed) await control.stop().catch(() => undefined);
      return closed;
    });
    await until('the process to be gone', async () => {
      const seen = await observeVm(machine.backend, guest.bundle);
      if (seen.state === 'present') seen.control.close();
      return seen.state === 'absent';
    });
  });

  test('whose QEMU has stopped answering is unknown, and purged all the same', async () => {
    const { bundle } = guest;
    control.close();
    const found = await machine.backend.processes.find(bundle);
    if (found.state !== 'present') throw new Error(`it is ${found.state}`);
    for (const { pid } of found.processes) process.kill(pid, 'SIGSTOP');
    expect(await observeVm(machine.backend, bundle)).toMatchObject({ state: 'unknown' });
    await machine.backend.driver.purge(bundle);
    expect(await observeVm(machine.backend, bundle)).toEqual({ state: 'absent' });
  });
});

test('a guest without an agent boots without a seed disk', async () => {
  const machine = await machineFor(join(inject('templatesDir'), 'debian-plain'), { accelerator });
  const { bundle, spec } = await createBundle(machine);
  const prepared = await machine.backend.driver.prepare(bundle, spec, new AbortController().signal);
  const { control } = await startVm(machine.backend, bundle, prepared, Date.now);
  await until('an SSH banner', async () => (await banner(prepared)).startsWith('SSH-2.0-'));
  control.close();
});

test('an address that another bundle has is not given again, though nobody listens on it', async () => {
  const offers = ['127.64.0.1', '127.64.0.1', '127.64.0.1', '127.64.0.2'];
  const network: QemuNetwork = {
    plug: async () => {
      const endpoint = { host: offers.shift() ?? '', port: 2222 };
      return { netdev: 'user', endpoints: { ssh: endpoint, agent: endpoint, notifyUrl: '' } };
    },
  };
  const machine = await machineFor(TEMPLATE, { accelerator, network });
  const [one, two] = await Promise.all([createGuest(machine), createGuest(machine)]);
  const hosts = [one, two].map(({ prepared }) => prepared.endpoints.ssh.host);
  expect(hosts.sort()).toEqual(['127.64.0.1', '127.64.0.2']);
});

test('a clone that a crash cut short is made anew', async () => {
  const machine = await machineFor(TEMPLATE, { accelerator });
  const { bundle, spec } = await createBundle(machine);
  await Promise.all([bundle.disk, bundle.diskOverlay].map((path) => writeFile(`${path}.tmp`, 'half a disk')));
  const prepared = await machine.backend.driver.prepare(bundle, spec, new AbortController().signal);
  const { control } = await startVm(machine.backend, bundle, prepared, Date.now);
  expect(await control.state()).toBe('running');
  control.close();
});

describe('on a filesystem that clones files', () => {
  test('the disk is a clone that takes no room, and boots', async (context) => {
    const volume = await mountReflinkVolume();
    if (volume.dir === undefined) return context.skip(`no XFS to test on: ${volume.why}`);
    onTestFinished(() => volume.unmount());
    const machine = await machineFor(TEMPLATE, { accelerator }, { parent: volume.dir, copy: true });
    expect((await machine.backend.driver.probe()).reflink).toBe(true);
    // XFS allocates late and ahead: what is free is known once everything is on disk.
    const free = async () => {
      await execute('sync', ['-f', machine.root]);
      const { bavail, bsize } = await statfs(machine.root);
      return bavail * bsize;
    };
    const before = await free();
    const guest = await createGuest(machine);
    expect(before - (await free())).toBeLessThan(64 * 2 ** 20);
    expect((await stat(guest.bundle.disk)).size).toBe(guest.prepared.spec.resources.diskBytes);
    expect(guest.prepared.driver).toMatchObject({ diskFormat: 'raw' });
    const control = await startGuest(machine, guest);
    await until('an SSH banner', async () => (await banner(guest.prepared)).startsWith('SSH-2.0-'));
    control.close();
  });
});

describe('the accelerator probe', () => {
  test('sees a kernel boot, and says what it saw of one that does not', async () => {
    const installation = await inspectInstallation('qemu-system-x86_64');
    const template = await readBootableTemplate(TEMPLATE);
    const tcg = ['-accel', 'tcg', '-cpu', 'max'];
    expect(await bootFailure(installation, template, tcg, 120)).toBeUndefined();
    const machine = await machineFor(TEMPLATE, { accelerator });
    const kernel = join(machine.root, 'kernel');
    await writeFile(kernel, 'no kernel');
    expect(await bootFailure(installation, { ...template, kernel }, tcg, 120)).toMatch(/kernel/);
  });

  test('keeps its verdict for this boot, this QEMU and this kernel', async () => {
    const machine = await machineFor(TEMPLATE);
    const installation = await inspectInstallation('qemu-system-x86_64');
    const template = await readBootableTemplate(TEMPLATE);
    const choose = (bootId: string, kernelDigest = template.kernelDigest) =>
      chooseAccelerator(machine.root, installation, { ...template, kernelDigest }, bootId);
    const verdict = await choose('this boot');
    expect(verdict).toMatchObject({ accelerator, decided: true });
    const cache = join(machine.root, 'accelerator.json');
    const cached = await readFile(cache, 'utf8').catch(() => undefined);
    // Without a device there is nothing to try, and nothing worth keeping.
    if (cached !== undefined) {
      const remembered = { ...JSON.parse(cached), accelerator: 'tcg', reason: 'remembered' };
      await writeFile(cache, JSON.stringify(remembered));
      expect((await choose('this boot')).reason).toBe('remembered');
      expect(await choose('another boot')).toEqual(verdict);
    }
  });
});

/** The first bytes that the guest's SSH server sends; empty where there is none yet. */
function banner({ endpoints }: PreparedVm): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection(endpoints.ssh.port, endpoints.ssh.host);
    const end = (text: string): void => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(500, () => end(''));
    socket.on('data', (chunk) => end(chunk.toString('latin1')));
    socket.on('error', () => end(''));
    socket.on('close', () => end(''));
  });
}

async function status({ endpoints }: PreparedVm, token: string): Promise<GuestStatus> {
  const { host, port } = endpoints.agent;
  const response = await fetch(`http://${host}:${port}/status`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(2_000),
  });
  if (!response.ok) throw new Error(`the agent answered ${response.status}`);
  return response.json() as Promise<GuestStatus>;
}
