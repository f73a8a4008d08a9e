import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { VmBackend } from './backend.ts';
import { BundleStore } from './bundle.ts';
import { type BundlePaths, type PreparedVm, VmError } from './driver.ts';
import { FakeDriver } from './fake/driver.ts';
import { FakeMachine } from './fake/machine.ts';
import { logTail, startVm } from './start.ts';

let root: string;
let machine: FakeMachine;
let backend: VmBackend;
let bundle: BundlePaths;
let prepared: PreparedVm;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'st-'));
  await mkdir(join(root, 'runners'));
  await writeFile(join(root, 'Disk.img'), '');
  machine = new FakeMachine();
  const bundles = new BundleStore(root);
  backend = { bundles, processes: machine, driver: new FakeDriver({ machine, bundles }) };
  const identity = { uid: 'u', attempt: 1, hostUid: 'h' };
  const runner = { namespace: 'n', name: 'r' };
  bundle = await bundles.create({ identity, runner, template: { name: 't', digest: '' }, createdAt: 1 });
  const spec = {
    identity,
    templateDir: root,
    resources: { cpu: 1, memoryBytes: 1, diskBytes: 1 },
    guestPorts: { ssh: 22, agent: 8080 },
    notifyPort: 8081,
  };
  prepared = await backend.driver.prepare(bundle, spec, new AbortController().signal);
});
afterEach(() => rm(root, { recursive: true, force: true }));

function start(deadlineMs?: number): Promise<unknown> {
  return startVm(backend, bundle, prepared, () => 7, deadlineMs);
}

async function failure(work: Promise<unknown>): Promise<VmError> {
  const error = await work.catch((reason: unknown) => reason);
  if (error instanceof VmError) return error;
  throw new Error(`not refused with a VmError: ${String(error)}`);
}

test('a socket that opens late is waited for', async () => {
  machine.fail('connect', new Error('ECONNREFUSED'), 3);
  expect(await start()).toMatchObject({ startReturnedAt: 7 });
  expect(machine.calls.filter(({ verb }) => verb === 'connect')).toHaveLength(4);
});

test('a process that ends before its socket answers is explained by its log', async () => {
  machine.fail('connect', new Error('ECONNREFUSED'), 1000);
  await writeFile(bundle.log, 'no kernel\n');
  const started = failure(start());
  await expect.poll(() => machine.running()).toHaveLength(1);
  machine.die(bundle);
  expect(await started).toMatchObject({ reason: 'StartFailed', message: 'no kernel' });
});

test('a process that never answers is given up, and is on record for the purge', async () => {
  machine.fail('connect', new Error('ECONNREFUSED'), 1000);
  const error = await failure(start(0));
  expect(error).toMatchObject({ reason: 'StartFailed' });
  expect(error.message).toContain('did not answer on its control socket: ECONNREFUSED');
  expect((await backend.bundles.view(bundle))?.metadata).toMatchObject({ metadata: { process: {} } });
  expect(machine.running()).toHaveLength(1);
});

test('a process that cannot be started says why', async () => {
  machine.fail('spawn', new Error('EAGAIN'));
  expect(await failure(start())).toMatchObject({
    reason: 'StartFailed',
    message: "cannot start the VM's process: EAGAIN",
  });
});

test('where the start cannot be recorded, the connection is let go and the caller told', async () => {
  await writeFile(bundle.metadata, 'corrupt');
  await expect(start()).rejects.toThrow('RuntimeMetadata.json');
  expect(machine.vm(bundle)?.listeners.size).toBe(0);
});

test('the tail of a log is bounded, and a missing log is empty', async () => {
  await writeFile(bundle.log, `${'x'.repeat(10_000)}end`);
  expect(await logTail(bundle.log, 5)).toBe('xxend');
  expect(await logTail(join(root, 'none'))).toBe('');
});
