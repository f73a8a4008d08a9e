import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { HOST_FINALIZER } from '../../crds/host.ts';
import { API_VERSION, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import { LEASES } from '../../kube/lease.ts';
import { HostNameTakenError } from '../../node-daemon/host/claim-name.ts';
import { readMachine } from '../../node-daemon/host/machine.ts';
import { HostNameError } from '../../node-daemon/host/open.ts';
import { FakeMachine } from '../../node-daemon/vm/fake/machine.ts';
import { testClient, uniqueName } from '../harness/control-plane.ts';
import {
  conditionOf,
  edit,
  ensureSystemNamespace,
  hosts,
  placeTemplate,
  readyOf,
  TestHosts,
} from './host-fixture.ts';

const client = testClient();
const daemons = new TestHosts(client);
beforeAll(() => ensureSystemNamespace(client));
afterEach(() => daemons.close());
afterAll(() => client.close());

const stored = async (name: string) => await hosts(client).get({ name });
const poll = (probe: () => unknown) => expect.poll(probe, { timeout: 15_000, interval: 50 });

describe('registration', () => {
  test('a new machine is a ready host, told in one write, and holds its Lease', async () => {
    const name = uniqueName('host');
    const root = await daemons.root();
    const digest = await placeTemplate(root.path, 'debian');
    const { session } = await daemons.open(name, {
      root,
      initial: { spec: { maxRunners: 3, cpuOvercommit: 2 }, labels: { zone: 'a' } },
    });
    const host = await stored(name);
    const machine = await readMachine(root.path);
    expect(host?.metadata.finalizers).toEqual([HOST_FINALIZER]);
    expect(host?.metadata.labels).toEqual({ zone: 'a' });
    expect(host?.spec).toEqual({ maxRunners: 3, cpuOvercommit: 2 });
    expect(host?.status).toMatchObject({
      observedGeneration: 1,
      capacity: { cpu: machine.cpus },
      allocatable: { cpu: machine.cpus * 2, runners: 3 },
      nodeInfo: {
        ...{ os: machine.os, osVersion: machine.osVersion, arch: machine.arch },
        ...{ driver: 'fake', driverVersion: '1.0', accelerator: 'fake', reflink: true },
        ...{ daemonVersion: '0.1.0', machineID: root.machineId, hostRoot: root.path },
      },
      templates: [{ name: 'debian', digest, os: 'linux', arch: 'amd64' }],
    });
    expect(readyOf(host)).toMatchObject({ status: 'True', reason: 'DaemonReady' });
    expect(conditionOf(host, 'TemplatesHealthy')).toMatchObject({ status: 'True', reason: 'Verified' });
    const lease = await client.resources(LEASES).get({ namespace: SYSTEM_NAMESPACE, name });
    expect(lease?.spec?.holderIdentity).toBe(root.machineId);
    expect(session.uid()).toBe(host?.metadata.uid);
    expect(session.state()).toBe('live');
    expect(session.leaseFresh()).toBe(true);
    expect([...session.templates().keys()]).toEqual(['debian']);
    expect(session.unready()).toBeUndefined();
    expect(session.allocatable()).toEqual(host?.status?.allocatable);
  });

  test('a Mac is a MacHost', async () => {
    const name = uniqueName('mac');
    const root = await daemons.root();
    const machine = { ...(await readMachine(root.path)), os: 'macOS' as const, osVersion: '26.1' };
    const { session } = await daemons.open(name, { root, machine });
    expect(session.kind).toBe('MacHost');
    const host = await hosts(client, 'MacHost').get({ name });
    expect(host?.status).toMatchObject({ allocatable: { runners: 2, cpu: machine.cpus } });
    expect(await stored(name)).toBeUndefined();
  });

  test('two daemons with two roots are two hosts', async () => {
    const [a, b] = [uniqueName('host'), uniqueName('host')];
    const [first, second] = await Promise.all([daemons.open(a), daemons.open(b)]);
    expect(first.root.machineId).not.toBe(second.root.machineId);
    expect(readyOf(await stored(a))?.status).toBe('True');
    expect(readyOf(await stored(b))?.status).toBe('True');
    expect(first.session.uid()).not.toBe(second.session.uid());
  });

  test('a machine with VMs of a host of another name is refused until that host is deleted', async () => {
    const [former, name] = [uniqueName('host'), uniqueName('host')];
    const { session, root } = await daemons.open(former);
    const heldUids = new Set([session.uid()]);
    await session.stop();
    await expect(daemons.open(name, { root, heldUids })).rejects.toMatchObject({
      name: 'HostNameError',
      message: `--host-name: VMs on this machine belong to the LinuxHost "${former}", not to "${name}"; give that name, or delete that LinuxHost, which declares its VMs dead`,
    });
    expect(await stored(name)).toBeUndefined();
    await edit(client, former, () => ({ metadata: { finalizers: [] } }));
    await hosts(client).delete({ name: former });
    const next = await daemons.open(name, { root, heldUids });
    expect(next.session.state()).toBe('vanished');
  });

  test('what a user declared before, or edits later, is kept and honoured', async () => {
    const name = uniqueName('host');
    await hosts(client).create({
      apiVersion: API_VERSION,
      kind: 'LinuxHost',
      metadata: { name, labels: { team: 'ios' }, finalizers: ['example.com/audit'] },
      spec: { maxRunners: 5 },
    });
    const { session } = await daemons.open(name, {
      initial: { spec: { maxRunners: 1 }, labels: { zone: 'a' } },
    });
    const adopted = await stored(name);
    expect(adopted?.spec).toEqual({ maxRunners: 5 });
    expect(adopted?.metadata.labels).toEqual({ team: 'ios' });
    expect(adopted?.metadata.finalizers).toEqual(['example.com/audit', HOST_FINALIZER]);
    expect(adopted?.status?.allocatable?.runners).toBe(5);

    await edit(client, name, () => ({ spec: { maxRunners: 2, unschedulable: true } }));
    await poll(async () => (await stored(name))?.status?.allocatable?.runners).toBe(2);
    const cordoned = await stored(name);
    expect(cordoned?.spec).toEqual({ maxRunners: 2, unschedulable: true });
    expect(cordoned?.status?.observedGeneration).toBe(cordoned?.metadata.generation);
    expect(readyOf(cordoned)).toMatchObject({
      status: 'True',
      observedGeneration: cordoned?.metadata.generation,
    });
    expect(session.object()?.spec.unschedulable).toBe(true);
    expect(session.allocatable().runners).toBe(2);
    await edit(client, name, () => ({ metadata: { finalizers: [HOST_FINALIZER] } }));
  });

  test('what is reserved is not offered, from the moment that the user says so', async () => {
    const name = uniqueName('host');
    const { session } = await daemons.open(name);
    const before = (await stored(name))?.status;
    const reserved = { cpu: 1, memory: '256Mi', disk: '1Gi' };
    await edit(client, name, () => ({ spec: { reserved, cpuOvercommit: 2 } }));
    const cpu = ((before?.capacity?.cpu ?? 0) - 1) * 2;
    await poll(async () => (await stored(name))?.status?.allocatable?.cpu).toBe(cpu);
    const { capacity, allocatable } = (await stored(name))?.status ?? {};
    expect(capacity).toEqual(before?.capacity);
    for (const part of ['memory', 'disk'] as const) {
      const left = quantityBytes(capacity?.[part] ?? '0') - quantityBytes(reserved[part]);
      expect(quantityBytes(allocatable?.[part] ?? '0')).toBe(left);
    }
    expect(session.allocatable()).toEqual(allocatable);
    await edit(client, name, () => ({ spec: { reserved: null, cpuOvercommit: null } }));
    await poll(async () => (await stored(name))?.status?.allocatable).toEqual(before?.allocatable);
  });

  test('a machine that must be rebooted says so through daemons, until it was', async () => {
    const name = uniqueName('host');
    let bootId = 'boot-1';
    const options = { bootId: async () => bootId };
    const { session, root } = await daemons.open(name, options);
    await session.needsReboot('the hypervisor counts VMs that are gone');
    const needed = { status: 'True', reason: 'VmLimit', message: 'the hypervisor counts VMs that are gone' };
    await poll(async () => conditionOf(await stored(name), 'NeedsReboot')).toMatchObject(needed);
    expect(readyOf(await stored(name))).toMatchObject({ status: 'False', reason: 'NeedsReboot' });
    expect(session.unready()).toContain('has to be rebooted');
    await session.stop();
    const second = await daemons.open(name, { root, ...options });
    expect(conditionOf(await stored(name), 'NeedsReboot')).toMatchObject(needed);
    await poll(async () => readyOf(await stored(name))?.reason).toBe('NeedsReboot');
    await second.session.stop();
    bootId = 'boot-2';
    await daemons.open(name, { root, ...options });
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
    expect(conditionOf(await stored(name), 'NeedsReboot')).toBeUndefined();
  });

  test('a daemon that comes back is the same host; one that was stopped in order said so', async () => {
    const name = uniqueName('host');
    const { session, root } = await daemons.open(name);
    await session.stop();
    const stopped = await stored(name);
    expect(readyOf(stopped)).toMatchObject({ status: 'False', reason: 'DaemonStopped' });
    const again = await daemons.open(name, { root, heldUids: new Set([session.uid()]) });
    expect(again.session.uid()).toBe(session.uid());
    expect(readyOf(await stored(name))).toMatchObject({ status: 'True' });
  });

  test("the controller's Ready=Unknown is taken back", async () => {
    const name = uniqueName('host');
    await daemons.open(name);
    const host = await stored(name);
    const conditions = host?.status?.conditions?.map((condition) =>
      condition.type === 'Ready' ? { ...condition, status: 'Unknown', reason: 'HostLost' } : condition,
    );
    await hosts(client).patchStatus({ name }, host?.metadata.resourceVersion ?? '', {
      status: { conditions },
    });
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
  });
});

describe('names', () => {
  test('a second machine of the same name is refused, and told who has it', async () => {
    const name = uniqueName('host');
    const first = await daemons.open(name);
    const before = await stored(name);
    const error = await daemons.open(name).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HostNameTakenError);
    expect(String(error)).toContain(`the host name "${name}" is taken`);
    expect(String(error)).toContain(first.root.machineId);
    expect(String(error)).not.toContain('\n');
    expect(await stored(name)).toEqual(before);
    expect(first.session.leaseFresh()).toBe(true);
  });

  test('of two machines that start at once under one name, one wins', async () => {
    const name = uniqueName('host');
    const outcomes = await Promise.allSettled([daemons.open(name), daemons.open(name), daemons.open(name)]);
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    const lost = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(won).toHaveLength(1);
    for (const { reason } of lost) expect(reason).toBeInstanceOf(HostNameTakenError);
    expect((await stored(name))?.status?.nodeInfo?.machineID).toBe(won[0]?.value.root.machineId);
  });

  test('a name is unique across both kinds', async () => {
    const name = uniqueName('host');
    await hosts(client, 'MacHost').create({
      apiVersion: API_VERSION,
      kind: 'MacHost',
      metadata: { name },
      spec: {},
    });
    await expect(daemons.open(name)).rejects.toThrow(`"${name}" is taken: there is a MacHost of that name`);
    expect(await stored(name)).toBeUndefined();
  });

  test('the object of a machine that is gone is not taken over', async () => {
    const name = uniqueName('host');
    const first = await daemons.open(name);
    await first.session.abandon({ releaseLease: true });
    await expect(daemons.open(name)).rejects.toThrow(
      new RegExp(`belongs to machine ${first.root.machineId} with host root .*delete the LinuxHost`),
    );
    const lease = await client.resources(LEASES).get({ namespace: SYSTEM_NAMESPACE, name });
    expect(lease?.spec?.holderIdentity ?? '').toBe('');
  });

  test('the Lease of a machine that seems dead is taken over after its term', async () => {
    const name = uniqueName('host');
    const longAgo = '2026-01-01T00:00:00.000000Z';
    await client.resources(LEASES).create({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { namespace: SYSTEM_NAMESPACE, name },
      spec: { holderIdentity: 'dead', leaseDurationSeconds: 1, renewTime: longAgo, acquireTime: longAgo },
    });
    const { session } = await daemons.open(name);
    expect(session.leaseFresh()).toBe(true);
  });

  test('a name that no host can have is one line that names the flag', async () => {
    const error = await daemons.open('My_Host').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HostNameError);
    expect(String(error)).toMatch(/--host-name: must be a DNS name of lower-case letters/);
  });
});

describe('what a host tells', () => {
  test('templates that come, break and go', async () => {
    const name = uniqueName('host');
    const { session, root } = await daemons.open(name);
    expect(conditionOf(await stored(name), 'TemplatesHealthy')?.reason).toBe('NoTemplates');
    let changes = 0;
    session.onChange(() => {
      changes += 1;
    });
    await placeTemplate(root.path, 'debian');
    const names = async () => (await stored(name))?.status?.templates?.map((template) => template.name);
    await poll(names).toEqual(['debian']);
    expect([...session.templates().keys()]).toEqual(['debian']);
    expect(changes).toBeGreaterThan(0);

    await writeFile(join(root.path, 'templates', 'debian', 'Disk.img'), 'DISK of debian');
    await poll(names).toEqual([]);
    await poll(async () => conditionOf(await stored(name), 'TemplatesHealthy')).toMatchObject({
      status: 'False',
      reason: 'TemplateBroken',
      message: expect.stringMatching(/template debian: Disk\.img: is corrupt/),
    });
    expect(readyOf(await stored(name))?.status).toBe('True');

    await rm(join(root.path, 'templates', 'debian'), { recursive: true });
    await poll(async () => conditionOf(await stored(name), 'TemplatesHealthy')?.reason).toBe('NoTemplates');
  });

  test('the driver is tried again with the first template', async () => {
    const name = uniqueName('host');
    const { root, machine } = await daemons.open(name);
    const probes = () => machine.calls.filter((call) => call.verb === 'probe').length;
    expect(probes()).toBe(1);
    await placeTemplate(root.path, 'a');
    await poll(probes).toBe(2);
    await placeTemplate(root.path, 'b');
    await poll(async () => (await stored(name))?.status?.templates?.length).toBe(2);
    expect(probes()).toBe(2);
  });

  test('a driver that does not work, and does later', async () => {
    const name = uniqueName('host');
    const fake = new FakeMachine();
    fake.fail('probe', new Error('qemu-system-x86_64 is not installed'));
    const { session } = await daemons.open(name, { fake });
    expect(readyOf(await stored(name))).toMatchObject({
      status: 'False',
      reason: 'DriverUnavailable',
      message: 'qemu-system-x86_64 is not installed',
    });
    expect(session.unready()).toBe('qemu-system-x86_64 is not installed');
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
    expect(session.unready()).toBeUndefined();
  });

  test('a driver that takes its time keeps nobody from seeing the host', async () => {
    const name = uniqueName('host');
    const fake = new FakeMachine();
    const release = fake.hang('probe');
    const { session } = await daemons.open(name, { fake });
    expect(readyOf(await stored(name))).toMatchObject({ status: 'Unknown', reason: 'Probing' });
    expect(session.unready()).toBe('the driver is being tried');
    release();
    await poll(async () => readyOf(await stored(name))?.status).toBe('True');
  });
});
