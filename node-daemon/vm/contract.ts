import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { VmBackend } from './backend.ts';
import { type BundlePaths, type PreparedVm, type VmControl, VmError, type VmSpec } from './driver.ts';
import { observeVm } from './recover.ts';
import { startVm } from './start.ts';

/** A machine that a driver is tried on. */
export interface ContractMachine {
  readonly backend: VmBackend;
  /** A sealed template that VMs can be made from. */
  readonly templateDir: string;
  /** A template that lacks a file. */
  brokenTemplate(): Promise<{ readonly dir: string; readonly missing: string }>;
  /** What a daemon that starts anew on this machine has: nothing in memory, everything on disk. */
  restarted(): VmBackend;
  /** kill -9 of the VM's process, from outside. */
  killProcess(bundle: BundlePaths): Promise<void>;
  /** The VM's process runs on, but can be reached by no one. */
  loseSocket(bundle: BundlePaths): Promise<void>;
  /** Someone else listens there, until the returned function is called. */
  occupy(host: string, port: number): Promise<() => Promise<void>>;
  /** Ends and removes everything. */
  dispose(): Promise<void>;
}

const MIB = 2 ** 20;
const HOST_UID = '0f8fad5b-d9cb-469f-a165-70867728950e';

/** What every driver must do. Declares Vitest tests; `makeMachine` is called before each of them. */
export function vmDriverContract(name: string, makeMachine: () => Promise<ContractMachine>): void {
  describe(`the driver contract: ${name}`, () => {
    let machine: ContractMachine;
    beforeEach(async () => {
      machine = await makeMachine();
    });
    afterEach(() => machine.dispose());
    describePrepare(() => machine);
    describeLife(() => machine);
    describeRecovery(() => machine);
    describePurge(() => machine);
    describeRefusals(() => machine);
  });
}

function describePrepare(machine: () => ContractMachine): void {
  test('the probe tells what works here', async () => {
    const capabilities = await machine().backend.driver.probe();
    expect(capabilities.version).not.toBe('');
    expect(capabilities.accelerator).not.toBe('');
    expect(await machine().backend.driver.probe()).toEqual(capabilities);
  });

  test('prepare records what it returns, and a second one changes nothing', async () => {
    const { bundle, spec, prepared } = await prepareVm(machine());
    const before = await fingerprint(bundle.dir);
    const again = await machine().restarted().driver.prepare(bundle, spec, live());
    expect(again).toEqual(prepared);
    expect(await fingerprint(bundle.dir)).toEqual(before);
    const view = await machine().backend.bundles.view(bundle);
    expect(view?.metadata).toMatchObject({ state: 'present', metadata: { prepared } });
  });

  test('the command is the same every time, and names the control socket', async () => {
    const { bundle, prepared } = await prepareVm(machine());
    const command = machine().backend.driver.command(bundle, prepared);
    expect(machine().restarted().driver.command(bundle, prepared)).toEqual(command);
    expect(command.argv.join(' ')).toContain(bundle.controlSocket.replaceAll(',', ',,'));
  });

  test('two VMs of one template share no disk, MAC or address', async () => {
    const [one, two] = await Promise.all([prepareVm(machine()), prepareVm(machine())]);
    expect(one.prepared.endpoints.mac).not.toBe(two.prepared.endpoints.mac);
    expect(one.prepared.endpoints.ssh).not.toEqual(two.prepared.endpoints.ssh);
    expect(one.prepared.endpoints.agent).not.toEqual(two.prepared.endpoints.agent);
    const [inodesOfOne, inodesOfTwo] = [await inodes(one.bundle.dir), await inodes(two.bundle.dir)];
    expect(inodesOfOne.filter((inode) => inodesOfTwo.includes(inode))).toEqual([]);
  });

  test('a template is not touched by VMs that are made from it', async () => {
    const before = await fingerprint(machine().templateDir);
    const { control } = await runVm(machine());
    await control.kill();
    expect(await fingerprint(machine().templateDir)).toEqual(before);
  });
}

function describeLife(machine: () => ContractMachine): void {
  test('a started VM is on record, runs, and is present', async () => {
    const { bundle, control } = await runVm(machine());
    expect(await control.state()).toBe('running');
    const { metadata } = (await machine().backend.bundles.view(bundle)) ?? {};
    expect(metadata).toMatchObject({ metadata: { process: {}, startReturnedAt: 42 } });
    const found = await machine().backend.processes.find(bundle);
    expect(found).toEqual({
      state: 'present',
      processes: [metadata?.state === 'present' ? metadata.metadata.process : undefined],
    });
  });

  test('kill ends the process and the connection', async () => {
    const { bundle, control } = await runVm(machine());
    await control.kill();
    await control.closed;
    await expectGone(machine(), bundle);
  });

  test('closing lets the VM run on; it can be connected to again', async () => {
    const { bundle, spec, control } = await runVm(machine());
    control.close();
    await control.closed;
    await expect(control.state()).rejects.toThrow();
    const again = await machine().backend.driver.connect(bundle, spec.identity);
    expect(await again.state()).toBe('running');
    again.close();
  });

  test('the connection ends when the process dies', async () => {
    const { bundle, control } = await runVm(machine());
    await machine().killProcess(bundle);
    await control.closed;
    await expectGone(machine(), bundle);
  });
}

function describeRecovery(machine: () => ContractMachine): void {
  test('a bundle that was never started is absent', async () => {
    const { bundle } = await prepareVm(machine());
    expect(await observeVm(machine().backend, bundle)).toEqual({ state: 'absent' });
  });

  test('a daemon that starts anew adopts the VM while it runs on', async () => {
    const { bundle, control } = await runVm(machine());
    const before = await machine().backend.processes.find(bundle);
    control.close();
    const later = machine().restarted();
    const seen = await observeVm(later, bundle);
    if (seen.state !== 'present') throw new Error(`it is ${seen.state}`);
    expect(await seen.control.state()).toBe('running');
    expect(await later.processes.find(bundle)).toEqual(before);
    seen.control.close();
  });

  test('a VM that was started, but never recorded, is adopted and purged', async () => {
    const { bundle, prepared } = await prepareVm(machine());
    const { driver, processes } = machine().backend;
    await processes.spawn(bundle, driver.command(bundle, prepared));
    const later = machine().restarted();
    await expect.poll(async () => (await observe(later, bundle)).state).toBe('present');
    await later.driver.purge(bundle);
    await expectGone(machine(), bundle);
  });

  test('a process whose socket is lost is unknown, never absent; purge ends it', async () => {
    const { bundle, control } = await runVm(machine());
    control.close();
    await machine().loseSocket(bundle);
    expect(await observeVm(machine().backend, bundle)).toMatchObject({ state: 'unknown' });
    await machine().backend.driver.purge(bundle);
    await expectGone(machine(), bundle);
  });

  test.each(['uid', 'attempt', 'hostUid'] as const)('a socket of another %s is refused', async (field) => {
    const { bundle, spec, control } = await runVm(machine());
    control.close();
    const other = { ...spec.identity, [field]: field === 'attempt' ? 2 : randomUUID() };
    await expect(machine().backend.driver.connect(bundle, other)).rejects.toThrow('belongs to');
    expect(await observe(machine().backend, bundle)).toMatchObject({ state: 'present' });
  });
}

function describePurge(machine: () => ContractMachine): void {
  test('purge ends a running VM, twice is once, and nothing is left', async () => {
    const { bundle } = await runVm(machine());
    const { driver, bundles } = machine().backend;
    await driver.purge(bundle);
    await expectGone(machine(), bundle);
    await driver.purge(bundle);
    await bundles.purgeFiles(bundle, 1);
    await driver.purge(bundle);
    await bundles.removeTombstone(bundle);
    await driver.purge(bundle);
    expect(await bundles.view(bundle)).toBeUndefined();
  });

  test('purge after kill -9 of the VM', async () => {
    const { bundle } = await runVm(machine());
    await machine().killProcess(bundle);
    await machine().backend.driver.purge(bundle);
    await expectGone(machine(), bundle);
  });

  test('purge of one VM leaves the other alone', async () => {
    const [one, two] = [await runVm(machine()), await runVm(machine())];
    await machine().backend.driver.purge(one.bundle);
    expect(await two.control.state()).toBe('running');
  });

  test('what a purged VM listened on is free again', async () => {
    const { bundle, prepared } = await runVm(machine());
    await machine().backend.driver.purge(bundle);
    for (const { host, port } of [prepared.endpoints.ssh, prepared.endpoints.agent]) {
      await (await machine().occupy(host, port))();
    }
  });
}

function describeRefusals(machine: () => ContractMachine): void {
  test('a port that someone else took meanwhile', async () => {
    const { bundle, prepared } = await prepareVm(machine());
    const { host, port } = prepared.endpoints.ssh;
    const release = await machine().occupy(host, port);
    const error = await refusal(start(machine(), bundle, prepared));
    expect(error.reason).toBe('PortTaken');
    expect(error.message).toContain(`${host}:${port}`);
    expect(error.message).not.toContain('\n');
    await release();
    await expectGone(machine(), bundle);
  });

  test('a disk that does not fit', async () => {
    const { bundle, spec } = await createVm(machine());
    const huge = { ...spec, resources: { ...spec.resources, diskBytes: 2 ** 52 } };
    const error = await refusal(machine().backend.driver.prepare(bundle, huge, live()));
    expect(error.reason).toBe('NoRoom');
    await expectPurgeable(machine(), bundle);
  });

  test('a template that lacks a file, which is named', async () => {
    const { dir, missing } = await machine().brokenTemplate();
    const { bundle, spec } = await createVm(machine());
    const error = await refusal(
      machine().backend.driver.prepare(bundle, { ...spec, templateDir: dir }, live()),
    );
    expect(error.reason).toBe('TemplateMissing');
    expect(error.message).toContain(basename(dir));
    expect(error.message).toContain(missing);
    expect(error.message).not.toContain('\n');
    await expectPurgeable(machine(), bundle);
  });

  test('prepare ends when it is told to', async () => {
    const { bundle, spec } = await createVm(machine());
    const reason = new Error('deleted meanwhile');
    const aborted = machine().backend.driver.prepare(bundle, spec, AbortSignal.abort(reason));
    await expect(aborted).rejects.toBe(reason);
    await expectPurgeable(machine(), bundle);
  });
}

interface CreatedVm {
  readonly bundle: BundlePaths;
  readonly spec: VmSpec;
}

async function createVm({ backend, templateDir }: ContractMachine): Promise<CreatedVm> {
  const identity = { uid: randomUUID(), attempt: 1, hostUid: HOST_UID };
  const bundle = await backend.bundles.create({
    identity,
    runner: { namespace: 'default', name: 'contract' },
    template: { name: 'contract', digest: '' },
    createdAt: 1,
  });
  const spec: VmSpec = {
    identity,
    templateDir,
    resources: { cpu: 1, memoryBytes: 256 * MIB, diskBytes: 2048 * MIB },
    guestPorts: { ssh: 22, agent: 8080 },
    notifyPort: 8081,
    seedDisk: false,
  };
  return { bundle, spec };
}

async function prepareVm(machine: ContractMachine): Promise<CreatedVm & { readonly prepared: PreparedVm }> {
  const created = await createVm(machine);
  const prepared = await machine.backend.driver.prepare(created.bundle, created.spec, live());
  return { ...created, prepared };
}

type RunningVm = CreatedVm & { readonly prepared: PreparedVm; readonly control: VmControl };

async function runVm(machine: ContractMachine): Promise<RunningVm> {
  const vm = await prepareVm(machine);
  const control = await start(machine, vm.bundle, vm.prepared);
  onTestFinished(() => control.close());
  return { ...vm, control };
}

async function start(
  { backend }: ContractMachine,
  bundle: BundlePaths,
  prepared: PreparedVm,
): Promise<VmControl> {
  return (await startVm(backend, bundle, prepared, () => 42)).control;
}

/** Observes and lets go. */
async function observe(backend: VmBackend, bundle: BundlePaths): Promise<{ readonly state: string }> {
  const seen = await observeVm(backend, bundle);
  if (seen.state === 'present') seen.control.close();
  return seen;
}

async function expectGone({ backend }: ContractMachine, bundle: BundlePaths): Promise<void> {
  await expect.poll(() => backend.processes.find(bundle)).toEqual({ state: 'absent' });
  expect(await observeVm(backend, bundle)).toEqual({ state: 'absent' });
}

async function expectPurgeable({ backend }: ContractMachine, bundle: BundlePaths): Promise<void> {
  await backend.driver.purge(bundle);
  await backend.bundles.purgeFiles(bundle, 1);
  await backend.bundles.removeTombstone(bundle);
  expect(await backend.bundles.view(bundle)).toBeUndefined();
}

async function refusal(work: Promise<unknown>): Promise<VmError> {
  const error = await work.then(
    () => new Error('it was not refused'),
    (reason: unknown) => reason,
  );
  if (error instanceof VmError) return error;
  throw error;
}

function live(): AbortSignal {
  return new AbortController().signal;
}

async function inodes(dir: string): Promise<number[]> {
  const names = await readdir(dir);
  return Promise.all(names.map(async (name) => (await stat(join(dir, name))).ino));
}

/** Name, mode, times and content of every file. */
async function fingerprint(dir: string): Promise<string[]> {
  const names = (await readdir(dir)).sort();
  return Promise.all(
    names.map(async (name) => {
      const path = join(dir, name);
      const { mode, mtimeMs, ino } = await stat(path);
      const digest = createHash('sha256');
      await pipeline(createReadStream(path, { highWaterMark: MIB }), digest);
      return `${name} ${mode.toString(8)} ${mtimeMs} ${ino} ${digest.digest('hex')}`;
    }),
  );
}
