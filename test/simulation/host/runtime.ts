import type { VmRuntime } from '../../../node-daemon/runner/ports.ts';
import {
  type BundlePaths,
  type PreparedVm,
  type VmControl,
  VmError,
  type VmRunState,
  type VmSpec,
} from '../../../node-daemon/vm/driver.ts';
import type { VmObservation } from '../../../node-daemon/vm/recover.ts';
import type { Life } from '../life.ts';
import type { SimBundles } from './disk.ts';
import type { SimHost } from './host.ts';
import type { SimVm } from './vm.ts';

/** As vm/start.ts, the drivers and process.ts have them. */
const SOCKET_DEADLINE_MS = 15_000;
const CONNECT_TIMEOUT_MS = 5_000;
const KILL_DEADLINE_MS = 15_000;

/** {@link VmRuntime} of one daemon's life, over the VMs of its host. */
export function runtimeOf(host: SimHost, life: Life, bundles: SimBundles): VmRuntime {
  return {
    prepare: (bundle, spec, signal) => prepare(host, life, bundles, bundle, spec, signal),
    start: (bundle, prepared, now) => start(host, life, bundles, bundle, prepared, now),
    observe: (bundle) => observe(host, life, bundle),
    purge: (bundle) => purge(host, life, bundle),
    keepLogsBounded: (_, signal) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
  };
}

async function prepare(
  host: SimHost,
  life: Life,
  bundles: SimBundles,
  bundle: BundlePaths,
  spec: VmSpec,
  signal: AbortSignal,
): Promise<PreparedVm> {
  const known = host.disk.metadata(bundle)?.prepared;
  if (known !== undefined) return known;
  const template = spec.templateDir.split('/').at(-1) ?? '';
  if (!host.templates.has(template)) throw new VmError('TemplateMissing', `template ${template} is missing`);
  if (host.disk.isFull) throw new VmError('NoRoom', 'the disk needs 1 GiB, 0 bytes are free');
  await bundles.put(bundle, 'Disk.img', 'half');
  await life.takes(host.cloneMs());
  signal.throwIfAborted();
  if (host.startsFail > 0) {
    host.startsFail -= 1;
    throw new VmError('CloneFailed', 'the clone failed as the simulation wanted');
  }
  await bundles.put(bundle, 'Disk.img', 'whole');
  const prepared: PreparedVm = { spec, endpoints: host.newEndpoints(spec), driver: {} };
  await bundles.update(bundle, { prepared });
  return prepared;
}

async function start(
  host: SimHost,
  life: Life,
  bundles: SimBundles,
  bundle: BundlePaths,
  prepared: PreparedVm,
  now: () => number,
): Promise<VmControl> {
  host.world.checkSpawnAsked(host, prepared.spec.identity);
  await life.takes(life.random.int(2, 30));
  if (host.hasLeakedSlots) throw new VmError('VmLimit', 'the hypervisor runs as many VMs as it may');
  const vm = await life.effect('start the VM', () => host.spawn(bundle, prepared));
  const startReturnedAt = now();
  const recorded = bundles.update(bundle, { process: vm.process, startReturnedAt });
  const connected = connect(life, vm, SOCKET_DEADLINE_MS);
  const [outcome] = await Promise.allSettled([recorded, connected]);
  const control = await connected;
  if (outcome.status === 'fulfilled') return control;
  control.close();
  throw outcome.reason;
}

async function connect(life: Life, vm: SimVm, deadlineMs: number): Promise<VmControl> {
  await life.takes(life.random.int(1, 40));
  if (vm.isAlive && vm.isHung) await life.takes(deadlineMs);
  if (!vm.isAlive) throw new VmError('StartFailed', 'the VM ended as it was started');
  if (vm.isHung) throw new VmError('StartFailed', "the VM's process did not answer on its control socket");
  return controlOf(life, vm);
}

async function observe(host: SimHost, life: Life, bundle: BundlePaths): Promise<VmObservation> {
  await life.takes(life.random.chance(0.3) ? life.random.int(1, 10) : 0);
  const vm = host.vm(bundle);
  const metadata = host.disk.metadata(bundle);
  if (vm === undefined) {
    return host.isBlind ? { state: 'unknown', why: 'the process table cannot be read' } : { state: 'absent' };
  }
  if (vm.isHung || metadata === undefined) {
    await life.takes(vm.isHung ? CONNECT_TIMEOUT_MS : 1);
    if (vm.isAlive) return { state: 'unknown', why: 'process 1 runs but does not answer' };
    return { state: 'absent' };
  }
  return { state: 'present', control: controlOf(life, vm) };
}

async function purge(host: SimHost, life: Life, bundle: BundlePaths): Promise<void> {
  await life.takes(life.random.int(1, 10));
  const vm = host.vm(bundle);
  if (vm === undefined && !host.isBlind) return;
  if (vm === undefined || vm.isStuck || host.isBlind) {
    await life.takes(KILL_DEADLINE_MS);
    if (host.isBlind || vm?.isAlive)
      throw new Error(`${bundle.dir}: cannot tell whether its process is gone`);
    return;
  }
  host.world.checkKill(host, vm);
  await life.effect('kill the VM', () => host.end(vm, 'is killed', true));
  await life.takes(life.random.int(1, 30));
}

function controlOf(life: Life, vm: SimVm): VmControl {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const listeners = new Set<(state: VmRunState) => void>();
  let open = true;
  const close = (): void => {
    open = false;
    unsubscribe();
    listeners.clear();
    resolve();
  };
  const unsubscribe = vm.onChange(() => {
    if (!vm.isAlive && !life.isDead) close();
  });
  if (!vm.isAlive) close();
  const ask = async (): Promise<void> => {
    await life.takes(life.random.chance(0.3) ? 1 : 0);
    if (!open) throw new Error('the control socket is closed');
    if (vm.isHung) await life.takes(CONNECT_TIMEOUT_MS);
    if (vm.isHung || !vm.isAlive) throw new Error('the control socket does not answer');
  };
  return {
    state: async () => {
      await ask();
      return 'running';
    },
    stop: ask,
    kill: ask,
    close,
    onStateChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    closed,
  };
}
