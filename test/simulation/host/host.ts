import type { HostKind } from '../../../crds/host.ts';
import type { GuestRunnerState } from '../../../guest/protocol.ts';
import type { GuestRegister } from '../../../node-daemon/guest-link/register.ts';
import type { Machine } from '../../../node-daemon/host/machine.ts';
import type { TemplateListing } from '../../../node-daemon/host/templates/inventory.ts';
import type { BundlePaths, PreparedVm, VmIdentity, VmSpec } from '../../../node-daemon/vm/driver.ts';
import type { TemplateBundle } from '../../../node-daemon/vm/template.ts';
import type { Link } from '../api-server/link.ts';
import type { MachineClock } from '../life.ts';
import type { Process } from '../process.ts';
import type { Random } from '../random.ts';
import type { Timeline } from '../timeline.ts';
import type { Trace } from '../trace.ts';
import { SimDisk } from './disk.ts';
import { planOf } from './guest-script.ts';
import { type SeedContent, SimVm } from './vm.ts';

/** Whom a host tells what happens on it: the invariants judge. */
export interface HostWorld {
  readonly timeline: Timeline;
  readonly trace: Trace;
  nameOf(identity: Pick<VmIdentity, 'uid' | 'attempt'>): string;
  /** A daemon is about to start a VM. */
  checkSpawnAsked(host: SimHost, identity: VmIdentity): void;
  checkSpawned(host: SimHost, vm: SimVm): void;
  checkKill(host: SimHost, vm: SimVm): void;
  scriptGiven(identity: VmIdentity): void;
  scriptRan(vm: SimVm): void;
}

export interface SimHostOptions {
  readonly name: string;
  readonly kind: HostKind;
  readonly world: HostWorld;
  readonly random: Random;
  readonly link: Link;
  readonly maxRunners: number;
  readonly templates: readonly TemplateBundle[];
}

/** How often a guest's agent sends again what nobody took. */
const REPORT_RETRY_MS = 3_000;
const REPORT_TRIES = 40;

/** One machine: what is there whether or not a daemon runs. */
export class SimHost implements MachineClock {
  readonly name: string;
  readonly kind: HostKind;
  readonly root: string;
  readonly machineId: string;
  readonly machine: Machine;
  readonly world: HostWorld;
  readonly link: Link;
  readonly maxRunners: number;
  readonly disk = new SimDisk();
  readonly templates: Map<string, TemplateBundle>;
  wallErrorMs = 0;
  bootedAt = 0;
  /** The machine is gone for good, with all that was on it. */
  isLost = false;
  /** What a daemon left of its own on disk. */
  rebootNote: string | undefined;
  /** The hypervisor counts VMs that are gone: it starts none before it is booted anew. */
  hasLeakedSlots = false;
  /** It has power. */
  isUp = true;
  /** The process table cannot be read. */
  isBlind = false;
  /** Clones that are yet to fail. */
  startsFail = 0;
  /** Clones that are yet to take as long as this. */
  readonly clonesTakeMs: number[] = [];
  /** VMs that are yet to boot without ever answering. */
  bootsHang = 0;
  /** Who takes guests' reports now. */
  register: GuestRegister | undefined;
  daemon: Process | undefined;
  readonly #random: Random;
  readonly #vms = new Map<string, SimVm>();
  readonly #templateListeners = new Set<() => void>();
  #bootId: string;
  #pids = 100;

  constructor(options: SimHostOptions) {
    const { name, kind, world, random, link, maxRunners, templates } = options;
    this.name = name;
    this.kind = kind;
    this.world = world;
    this.link = link;
    this.maxRunners = maxRunners;
    this.#random = random;
    this.root = `/sim/${name}`;
    this.machineId = random.uuid();
    this.#bootId = random.uuid();
    this.templates = new Map(templates.map((bundle) => [bundle.metadata.name, bundle]));
    this.machine = {
      os: kind === 'MacHost' ? 'macOS' : 'linux',
      arch: kind === 'MacHost' ? 'arm64' : 'amd64',
      osVersion: 'simulated',
      cpus: 4,
      memoryBytes: 16 * 2 ** 30,
      diskBytes: 200 * 2 ** 30,
    };
  }

  get bootId(): string {
    return this.#bootId;
  }

  vms(): SimVm[] {
    return [...this.#vms.values()];
  }

  vm({ dir }: Pick<BundlePaths, 'dir'>): SimVm | undefined {
    return this.#vms.get(dir);
  }

  /** Whose guest answers at an address. */
  vmAt(host: string, port: number): SimVm | undefined {
    return this.vms().find(({ prepared: { endpoints } }) =>
      [endpoints.ssh, endpoints.agent].some((one) => one.host === host && one.port === port),
    );
  }

  cloneMs(): number {
    const slow = this.clonesTakeMs.shift();
    if (slow !== undefined) return slow;
    return this.#random.chance(0.3) ? this.#random.int(500, 8_000) : this.#random.int(10, 120);
  }

  newEndpoints(spec: VmSpec): PreparedVm['endpoints'] {
    const random = this.#random;
    const host = `127.${random.int(64, 127)}.${random.int(0, 255)}.${random.int(1, 254)}`;
    return {
      ssh: { host, port: 2222 },
      agent: { host, port: 8080 },
      notifyUrl: `http://10.0.2.2:${spec.notifyPort}`,
      guestIp: `10.${random.int(0, 255)}.${random.int(0, 255)}.${random.int(1, 254)}`,
      mac: `02:${random.hex(2)}:${random.hex(2)}:${random.hex(2)}:${random.hex(2)}:${random.hex(2)}`,
    };
  }

  newSecret(): string {
    return this.#random.hex(32);
  }

  /** Starts a VM's process, whose guest boots by itself. */
  spawn(bundle: BundlePaths, prepared: PreparedVm): SimVm {
    const seed = this.disk.files(bundle)?.get('seed.img') as SeedContent | undefined;
    this.#pids += 1;
    const process = { pid: this.#pids, startTime: String(this.world.timeline.now), bootId: this.#bootId };
    const vm = new SimVm(prepared, process, seed);
    this.world.trace.add(this.name, `starts the VM of ${this.world.nameOf(vm.identity)}`);
    this.world.checkSpawned(this, vm);
    this.#vms.set(bundle.dir, vm);
    this.#boot(vm);
    return vm;
  }

  /** `wasKilled`: by its daemon. */
  end(vm: SimVm, how: string, wasKilled = false): void {
    if (!vm.isAlive) return;
    for (const [dir, one] of this.#vms) if (one === vm) this.#vms.delete(dir);
    this.world.trace.add(this.name, `the VM of ${this.world.nameOf(vm.identity)} ${how}`);
    vm.end(wasKilled);
  }

  /** All that runs ends; what is on disk stays. */
  powerOff(): void {
    this.isUp = false;
    this.daemon?.kill();
    this.register = undefined;
    for (const vm of this.vms()) this.end(vm, 'ends with its machine');
  }

  boot(): void {
    if (this.isUp || this.isLost) return;
    this.isUp = true;
    this.hasLeakedSlots = false;
    this.#bootId = this.#random.uuid();
    this.bootedAt = this.world.timeline.now;
    this.daemon?.run();
  }

  /** The guest boots anew, with what it had written to its disk by then: not even that a script was begun. */
  reset(vm: SimVm): void {
    this.world.trace.add(this.name, `the guest of ${this.world.nameOf(vm.identity)} resets`);
    vm.before.push({ script: vm.script, agent: vm.agent });
    vm.resets += 1;
    vm.isSshUp = false;
    vm.script = { state: 'absent' };
    vm.agent = 'NoRunner';
    vm.changed();
    this.#boot(vm);
  }

  /** The setup script begins. */
  guestRuns(vm: SimVm, script: string): void {
    const { timeline } = this.world;
    const { resets } = vm;
    const plan = planOf(script);
    vm.ran.push(script);
    vm.script = { state: 'running', pid: 77 };
    vm.output = script;
    this.world.scriptRan(vm);
    vm.changed();
    if (plan.job !== undefined) {
      this.#agentLater(vm, 200, 'Starting');
      this.#agentLater(vm, plan.job.idleAfterMs, 'Idle');
      this.#agentLater(vm, plan.job.idleAfterMs + plan.job.busyAfterMs, 'Running');
      this.#agentLater(vm, plan.ms, 'Finished');
    }
    timeline.after(plan.ms + 50, () => {
      if (!vm.isAlive || vm.isHung || vm.resets !== resets) return;
      vm.script = { state: 'exited', exitCode: plan.exitCode };
      vm.changed();
    });
  }

  listing(): TemplateListing {
    return { published: new Map(this.templates), problems: new Map() };
  }

  onTemplates(listener: () => void): () => void {
    this.#templateListeners.add(listener);
    return () => this.#templateListeners.delete(listener);
  }

  templatesChanged(): void {
    for (const listener of [...this.#templateListeners]) listener();
  }

  #boot(vm: SimVm): void {
    if (this.bootsHang > 0) {
      this.bootsHang -= 1;
      return;
    }
    const ms = this.#random.chance(0.1) ? this.#random.int(10_000, 20_000) : this.#random.int(800, 6_000);
    const { resets } = vm;
    this.world.timeline.after(ms, () => {
      if (!vm.isAlive || vm.isHung || vm.resets !== resets) return;
      vm.isSshUp = true;
      vm.changed();
      this.#report(vm, 'Ready');
    });
  }

  #agentLater(vm: SimVm, ms: number, state: GuestRunnerState): void {
    const { resets } = vm;
    this.world.timeline.after(ms, () => {
      if (!vm.isAlive || vm.isHung || vm.resets !== resets) return;
      vm.agent = state;
      this.#report(vm, 'State');
    });
  }

  /** As the guest's notifier does: what is not taken is sent again, as it is then. */
  #report(vm: SimVm, event: 'Ready' | 'State', tries = REPORT_TRIES): void {
    if (vm.seed === undefined || !vm.isAlive || vm.isHung) return;
    const { mac, guestIp } = vm.prepared.endpoints;
    const report = { mac, ip: guestIp, event, state: vm.agent };
    const delivery = this.register?.deliver(vm.seed.token, JSON.stringify(report));
    if (delivery === 'accepted' || tries <= 1) return;
    this.world.timeline.after(REPORT_RETRY_MS, () => this.#report(vm, event, tries - 1));
  }
}
