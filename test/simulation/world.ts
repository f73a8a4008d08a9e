import { runController } from '../../controller/main.ts';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { ExplainedError } from '../../kube/explained-error.ts';
import { ELECTION_CALL_TIMEOUT_MS, LEADER_CALL_TIMEOUT_MS } from '../../kube/leader-election.ts';
import type { VmIdentity } from '../../node-daemon/vm/driver.ts';
import type { TemplateBundle } from '../../node-daemon/vm/template.ts';
import { SimClient } from './api-server/client.ts';
import { Frontend } from './api-server/frontend.ts';
import { Link } from './api-server/link.ts';
import { ApiServer } from './api-server/server.ts';
import { declare } from './declare.ts';
import { runDaemon } from './host/daemon.ts';
import { type HostWorld, SimHost } from './host/host.ts';
import type { SimVm } from './host/vm.ts';
import { Invariants } from './invariants.ts';
import { EPOCH, type Life, type MachineClock } from './life.ts';
import { logInto } from './log.ts';
import { NAMESPACE } from './names.ts';
import type { HostPlan, Plan } from './plan.ts';
import { Process, type Program } from './process.ts';
import { Random } from './random.ts';
import { Timeline } from './timeline.ts';
import { Trace } from './trace.ts';
import { Truth } from './truth.ts';
import { tellCommits } from './words.ts';

/** A whole system: one API server, one controller, hosts. All of it happens on one timeline. */
export class World implements HostWorld {
  readonly timeline = new Timeline();
  readonly random: Random;
  readonly trace: Trace;
  readonly server: ApiServer;
  readonly frontend: Frontend;
  readonly hosts: readonly SimHost[];
  readonly links = new Map<string, Link>();
  readonly controllerClocks = new Map<string, MachineClock>();
  readonly processes = new Map<string, Process>();
  readonly invariants: Invariants;
  /** Whether controllers are elected: otherwise a new one begins before what the last one sent has arrived. */
  readonly elects: boolean;
  readonly truth: Truth;
  /** Runners that ever were: UID → name. */
  readonly names = new Map<string, string>();

  constructor(plan: Omit<Plan, 'steps'>, keepsTrace: boolean) {
    this.elects = plan.elects;
    this.random = new Random(plan.seed).stream('world');
    this.trace = new Trace(() => this.timeline.now, keepsTrace);
    const uids = this.random.stream('uids');
    this.server = new ApiServer({
      now: () => EPOCH + this.timeline.now,
      uid: () => uids.uuid(),
      namespaces: [NAMESPACE, SYSTEM_NAMESPACE, 'default'],
    });
    this.frontend = new Frontend(this.server, this.timeline, this.random.stream('frontend'));
    this.hosts = plan.hosts.map((host) => this.#host(host));
    this.invariants = new Invariants(this);
    this.truth = new Truth(this);
    tellCommits(this);
    for (const name of plan.controllers) this.#addController(name, plan.elects);
    for (const host of this.hosts) this.#addDaemon(host);
    declare(this);
  }

  host(name: string): SimHost {
    const host = this.hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`there is no host ${name}`);
    return host;
  }

  link(who: string): Link {
    const link = this.links.get(who) ?? new Link(this.random.stream(`link ${who}`));
    this.links.set(who, link);
    return link;
  }

  process(who: string): Process {
    const process = this.processes.get(who);
    if (process === undefined) throw new Error(`there is no process ${who}`);
    return process;
  }

  controllerClock(name: string): MachineClock {
    const clock = this.controllerClocks.get(name) ?? { wallErrorMs: 0, bootedAt: 0 };
    this.controllerClocks.set(name, clock);
    return clock;
  }

  nameOf({ uid, attempt }: Pick<VmIdentity, 'uid' | 'attempt'>): string {
    return `${this.names.get(uid) ?? uid} (attempt ${attempt})`;
  }

  checkSpawnAsked(host: SimHost, identity: VmIdentity): void {
    this.invariants.spawnAsked(host, identity);
  }

  checkSpawned(host: SimHost, vm: SimVm): void {
    this.invariants.spawned(host, vm);
    this.truth.spawned(vm);
  }

  checkKill(host: SimHost, vm: SimVm): void {
    this.invariants.kill(host, vm);
  }

  scriptGiven(identity: VmIdentity): void {
    this.invariants.scriptGiven(identity);
  }

  scriptRan(vm: SimVm): void {
    this.trace.add('guest', `the setup script of ${this.nameOf(vm.identity)} begins`);
    this.invariants.scriptRan(vm);
  }

  /** Something that no code expected. */
  bug(error: unknown): void {
    this.invariants.violated(
      `unexpected: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
    );
  }

  #host({ name, kind, maxRunners }: HostPlan): SimHost {
    return new SimHost({
      ...{ name, kind, maxRunners },
      world: this,
      random: this.random.stream(`host ${name}`),
      link: this.link(name),
      templates: [kind === 'MacHost' ? MAC_TEMPLATE : LINUX_TEMPLATE],
    });
  }

  #addController(name: string, elects: boolean): void {
    const clock = this.controllerClock(name);
    const process = this.#process(name, clock, (life) => this.#runController(name, life, elects));
    process.run();
  }

  /** As the command runs it. */
  async #runController(name: string, life: Life, elects: boolean): Promise<Program> {
    const { timeline, frontend } = this;
    const connect = (timeoutMs: number) =>
      new SimClient({ timeline, frontend, link: this.link(name), life, timeoutMs });
    const controller = await runController({
      client: connect(LEADER_CALL_TIMEOUT_MS),
      election: elects ? { client: connect(ELECTION_CALL_TIMEOUT_MS), identity: life.id } : undefined,
      log: logInto((who, _, line) => this.#logged(who, line))(life),
      clock: life.clock,
    });
    await controller.started;
    const failed = Promise.race([
      controller.failed,
      controller.ready.then(() => new Promise<never>(() => {})),
    ]);
    return { failed, stop: () => controller.stop() };
  }

  #addDaemon(host: SimHost): void {
    const log = logInto((who, _, line) => this.#logged(who, line));
    host.daemon = this.#process(host.name, host, (life) => runDaemon(host, life, this.frontend, log));
    host.daemon.run();
  }

  #process(
    name: string,
    machine: ConstructorParameters<typeof Process>[0]['machine'],
    start: ConstructorParameters<typeof Process>[0]['start'],
  ): Process {
    const process = new Process({
      ...{ name, machine, start },
      timeline: this.timeline,
      trace: this.trace,
      random: this.random.stream(`process ${name}`),
      onBug: (error) => this.bug(error),
      isExpected,
    });
    this.processes.set(name, process);
    return process;
  }

  #logged(who: string, line: string): void {
    this.invariants.said(`a log line of ${who}`, line);
    this.trace.add(who, `logs: ${line}`);
  }
}

/** One line for a person, or what the machine says: a program may end with it. */
const isExpected = (error: unknown): boolean =>
  error instanceof ExplainedError || (error instanceof Error && 'code' in error);

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;

const templateBundle = (name: string, os: 'linux' | 'macOS', arch: 'amd64' | 'arm64'): TemplateBundle => ({
  dir: `/sim/templates/${name}`,
  metadata: {
    ...{ version: 1, name, os, arch },
    files: { 'Disk.img': { digest: digest('0'), size: 1 } },
    digest: digest(os === 'linux' ? '1' : '2'),
    user: 'runner',
    guestAgent: true,
    diskBytes: 2 ** 30,
    createdAt: '2026-01-01T00:00:00Z',
  },
});

const LINUX_TEMPLATE = templateBundle('linux', 'linux', 'amd64');
const MAC_TEMPLATE = templateBundle('macos', 'macOS', 'arm64');
