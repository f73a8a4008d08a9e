import { copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type BundleStore, sameIdentity } from '../bundle.ts';
import {
  type BundlePaths,
  type Capabilities,
  type PreparedVm,
  type VmCommand,
  type VmControl,
  type VmDriver,
  VmError,
  type VmIdentity,
  type VmRunState,
  type VmSpec,
} from '../driver.ts';
import { readMetadata } from '../metadata.ts';
import type { FakeCommand, FakeMachine } from './machine.ts';

export interface FakeDriverOptions {
  readonly machine: FakeMachine;
  readonly bundles: BundleStore;
  /** Replaces endpoints, for tests that have a server of their own behind them. */
  readonly endpoints?: (spec: VmSpec) => Partial<PreparedVm['endpoints']>;
}

/** A driver for unit tests. Its VMs exist in a {@link FakeMachine}, its bundles on a real disk. */
export class FakeDriver implements VmDriver {
  readonly name = 'fake';
  readonly #options: FakeDriverOptions;

  constructor(options: FakeDriverOptions) {
    this.#options = options;
  }

  async probe(): Promise<Capabilities> {
    await this.#options.machine.enter('probe', '');
    return { version: '1.0', accelerator: 'fake', reflink: true };
  }

  async prepare(bundle: BundlePaths, spec: VmSpec, signal: AbortSignal): Promise<PreparedVm> {
    const { machine, bundles } = this.#options;
    await machine.enter('prepare', bundle.dir, signal);
    signal.throwIfAborted();
    const read = await readMetadata(bundle.metadata);
    if (read.state === 'present' && read.metadata.prepared !== undefined) return read.metadata.prepared;
    const source = join(spec.templateDir, 'Disk.img');
    if ((await stat(source).catch(() => undefined)) === undefined) {
      throw new VmError('TemplateMissing', `template file ${source} is missing`);
    }
    if (spec.resources.diskBytes > machine.freeBytes) {
      throw new VmError(
        'NoRoom',
        `the disk needs ${spec.resources.diskBytes} bytes, ${machine.freeBytes} are free`,
      );
    }
    await copyFile(source, bundle.disk);
    const prepared = { spec, endpoints: this.#endpoints(spec), driver: {} };
    await bundles.update(bundle, { prepared });
    return prepared;
  }

  command(bundle: BundlePaths, prepared: PreparedVm): VmCommand {
    const { ssh, agent } = prepared.endpoints;
    const command: FakeCommand = {
      identity: prepared.spec.identity,
      listens: [`${ssh.host}:${ssh.port}`, `${agent.host}:${agent.port}`],
    };
    return { file: 'fake-vm', argv: [bundle.controlSocket, JSON.stringify(command)], env: {} };
  }

  async connect(bundle: BundlePaths, identity: VmIdentity): Promise<VmControl> {
    const { machine } = this.#options;
    await machine.enter('connect', bundle.dir);
    const vm = machine.vm(bundle);
    if (vm === undefined || vm.socketDead) throw new Error('control socket is dead');
    if (!sameIdentity(vm.identity, identity)) {
      throw new Error(`the control socket belongs to ${vm.identity.uid}.${vm.identity.attempt}`);
    }
    return connection(machine, bundle);
  }

  explainExit(log: string): VmError {
    const line = log.trimEnd().split('\n').at(-1) ?? '';
    return new VmError(reasonOf(line), line === '' ? 'the fake VM ended' : line);
  }

  async purge(bundle: BundlePaths): Promise<void> {
    await this.#options.machine.enter('purge', bundle.dir);
    await this.#options.machine.killAndWait(bundle);
  }

  #endpoints(spec: VmSpec): PreparedVm['endpoints'] {
    const octets = Array.from({ length: 5 }, () => Math.floor(Math.random() * 256));
    const [a = 0, b = 0, c = 0] = octets;
    const host = `127.${64 + (a % 64)}.${b}.${1 + (c % 254)}`;
    const mac = ['02', ...octets.map((octet) => octet.toString(16).padStart(2, '0'))].join(':');
    return {
      ssh: { host, port: 2222 },
      agent: { host, port: 8080 },
      notifyUrl: `http://10.0.2.2:${spec.notifyPort}`,
      guestIp: '10.0.2.15',
      mac,
      ...this.#options.endpoints?.(spec),
    };
  }
}

function reasonOf(line: string): VmError['reason'] {
  if (line.startsWith('port taken')) return 'PortTaken';
  return line.startsWith('virtual machine limit exceeded') ? 'VmLimit' : 'StartFailed';
}

function connection(machine: FakeMachine, bundle: BundlePaths): VmControl {
  const vm = machine.vm(bundle);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const listeners = new Set<(state: VmRunState) => void>();
  let open = true;
  const close = (): void => {
    open = false;
    vm?.listeners.delete(notice);
    listeners.clear();
    resolve();
  };
  const notice = (state: VmRunState | 'gone'): void => {
    if (state === 'gone') close();
    else for (const listener of [...listeners]) listener(state);
  };
  vm?.listeners.add(notice);
  const enter = async (verb: 'state' | 'stop' | 'kill'): Promise<void> => {
    if (!open) throw new Error('control socket is closed');
    await machine.enter(verb, bundle.dir);
  };
  return {
    state: async () => {
      await enter('state');
      return vm?.state ?? 'stopped';
    },
    stop: async () => {
      await enter('stop');
      if (machine.guestsObeyStop) machine.die(bundle, { code: 0, signal: null });
    },
    kill: async () => {
      await enter('kill');
      machine.die(bundle, { code: 0, signal: null });
    },
    close,
    onStateChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    closed,
  };
}
