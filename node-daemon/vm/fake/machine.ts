import { randomUUID } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import type { BundlePaths, VmCommand, VmIdentity, VmRunState } from '../driver.ts';
import type { ProcessExit, ProcessFinding, ProcessIdentity, SpawnedVm, VmProcesses } from '../process.ts';

/** Everything that a test may make fail or hang. */
export type FakeVerb =
  | 'probe'
  | 'prepare'
  | 'spawn'
  | 'connect'
  | 'state'
  | 'stop'
  | 'kill'
  | 'find'
  | 'killAndWait'
  | 'purge';

export interface FakeVm {
  readonly identity: VmIdentity;
  readonly process: ProcessIdentity;
  /** `host:port` pairs that it listens on. */
  readonly listens: readonly string[];
  state: VmRunState;
  socketDead: boolean;
  readonly exited: Promise<ProcessExit>;
  readonly listeners: Set<(state: VmRunState | 'gone') => void>;
  end(exit: ProcessExit): void;
}

/** What a {@link FakeMachine} reads out of a command: the fake driver's own argv. */
export interface FakeCommand {
  readonly identity: VmIdentity;
  readonly listens: readonly string[];
}

/**
 * The machine of the fake driver: what goes on existing when a daemon dies. Drivers come and go, one per
 * daemon life; processes, sockets and taken ports stay here.
 */
export class FakeMachine implements VmProcesses {
  /** All calls, in order. */
  readonly calls: { readonly verb: FakeVerb; readonly dir: string }[] = [];
  /** Room on the host root's volume. */
  freeBytes = 2 ** 40;
  /** `host:port` pairs that someone else listens on. */
  readonly taken = new Set<string>();
  /** Most VMs at once, as Virtualization.framework has it; undefined: any number. */
  vmLimit: number | undefined;
  /** Slots of VMs that are gone which the hypervisor still counts, until the machine is rebooted. */
  leakedSlots = 0;
  /** Whether a guest obeys `stop`. */
  guestsObeyStop = true;
  readonly #vms = new Map<string, FakeVm>();
  readonly #faults = new Map<FakeVerb, (Error | Promise<void>)[]>();
  #bootId = randomUUID();
  #lastPid = 1000;

  /** The next `times` calls of the verb reject with the error. */
  fail(verb: FakeVerb, error: Error, times = 1): void {
    const faults = this.#faults.get(verb) ?? [];
    faults.push(...Array.from({ length: times }, () => error));
    this.#faults.set(verb, faults);
  }

  /** The next call of the verb waits for the returned release, then goes on. */
  hang(verb: FakeVerb): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#faults.set(verb, [...(this.#faults.get(verb) ?? []), promise]);
    return resolve;
  }

  vm(bundle: BundlePaths): FakeVm | undefined {
    return this.#vms.get(bundle.dir);
  }

  /** Bundle directories of all VMs that run. */
  running(): string[] {
    return [...this.#vms.keys()];
  }

  /** `host:port` pairs that VMs listen on. */
  listening(): string[] {
    return [...this.#vms.values()].flatMap((vm) => vm.listens);
  }

  /** The VM's process ends by itself. */
  die(bundle: BundlePaths, exit: ProcessExit = { code: 1, signal: null }): void {
    this.#vms.get(bundle.dir)?.end(exit);
  }

  /** The process runs on, but nothing answers on its socket; connections that exist break. */
  killSocket(bundle: BundlePaths): void {
    const vm = this.#vms.get(bundle.dir);
    if (vm === undefined) return;
    vm.socketDead = true;
    for (const listener of [...vm.listeners]) listener('gone');
  }

  setState(bundle: BundlePaths, state: VmRunState): void {
    const vm = this.#vms.get(bundle.dir);
    if (vm === undefined) return;
    vm.state = state;
    for (const listener of [...vm.listeners]) listener(state);
  }

  /** The whole machine goes down and comes back: no process is left. */
  reboot(): void {
    for (const vm of [...this.#vms.values()]) vm.end({ code: null, signal: 'SIGKILL' });
    this.#bootId = randomUUID();
    this.leakedSlots = 0;
  }

  async bootId(): Promise<string> {
    return this.#bootId;
  }

  /** Records the call, then fails or hangs as a test asked for. */
  async enter(verb: FakeVerb, dir: string, signal?: AbortSignal): Promise<void> {
    this.calls.push({ verb, dir });
    const fault = this.#faults.get(verb)?.shift();
    if (fault instanceof Error) throw fault;
    if (fault === undefined) return;
    await Promise.race([fault, aborted(signal)]);
  }

  async spawn(bundle: BundlePaths, command: VmCommand): Promise<SpawnedVm> {
    await this.enter('spawn', bundle.dir);
    const { identity, listens }: FakeCommand = JSON.parse(command.argv[1] ?? '');
    const busy = new Set([...this.taken, ...this.listening()]);
    const conflict = listens.find((address) => busy.has(address));
    if (conflict !== undefined) {
      await appendFile(bundle.log, `port taken: ${conflict}\n`);
      return { identity: undefined, exited: Promise.resolve({ code: 1, signal: null }) };
    }
    if (this.#vms.size + this.leakedSlots >= (this.vmLimit ?? Number.POSITIVE_INFINITY)) {
      await appendFile(bundle.log, 'virtual machine limit exceeded (code 6)\n');
      return { identity: undefined, exited: Promise.resolve({ code: 1, signal: null }) };
    }
    if (this.#vms.has(bundle.dir)) throw new Error(`${bundle.dir} already has a VM`);
    const { promise, resolve } = Promise.withResolvers<ProcessExit>();
    const vm: FakeVm = {
      identity,
      process: { pid: ++this.#lastPid, startTime: randomUUID(), bootId: this.#bootId },
      listens,
      state: 'running',
      socketDead: false,
      exited: promise,
      listeners: new Set(),
      end: (exit) => {
        this.#vms.delete(bundle.dir);
        for (const listener of [...vm.listeners]) listener('gone');
        resolve(exit);
      },
    };
    this.#vms.set(bundle.dir, vm);
    return { identity: vm.process, exited: promise };
  }

  async find(bundle: BundlePaths): Promise<ProcessFinding> {
    try {
      await this.enter('find', bundle.dir);
    } catch (error) {
      return { state: 'unknown', why: error instanceof Error ? error.message : String(error) };
    }
    const vm = this.#vms.get(bundle.dir);
    return vm === undefined ? { state: 'absent' } : { state: 'present', processes: [vm.process] };
  }

  async waitGone(process: ProcessIdentity, signal: AbortSignal): Promise<void> {
    const vm = [...this.#vms.values()].find((candidate) => candidate.process.pid === process.pid);
    if (vm !== undefined) await Promise.race([vm.exited, aborted(signal)]);
  }

  async killAndWait(bundle: BundlePaths): Promise<void> {
    await this.enter('killAndWait', bundle.dir);
    this.#vms.get(bundle.dir)?.end({ code: null, signal: 'SIGKILL' });
  }
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted === true) reject(signal.reason);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
