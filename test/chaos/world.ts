import { randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Host } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner, RunnerSpec } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import type { Stored } from '../../kube/object.ts';
import { defaultRunnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';
import { until } from '../harness/until.ts';
import { ensureSystemNamespace, placeTemplate } from '../integration/host-fixture.ts';
import type { ControllerProgramOptions } from './controller-program.ts';
import { ChaosHost, type HostOptions } from './host.ts';
import { countRemains, type OracleOptions, type Remains, untilNothingIsLeft } from './oracle.ts';
import { ChaosProcess } from './process.ts';

const TEMPLATE = 'golden';
const NAMESPACE = 'default';
/** Second octet of VMs' addresses: beyond those that other tests' VMs may have. */
const FIRST_SUBNET = 130;
const SUBNETS = 120;

/** A system of real parts, each a process that can be killed: API server, etcd, controller, node daemons, VMs. */
export class ChaosWorld {
  readonly client: KubeClient;
  readonly controller: ChaosProcess<ControllerProgramOptions>;
  readonly hosts: ChaosHost[] = [];
  /** Where scripts leave a line each time that they run: it outlives their VMs. */
  readonly ledger: string;
  readonly #dir: string;
  #controlPlane: TestControlPlane;
  #isOpen = true;
  readonly #subnets = randomInt(SUBNETS);

  private constructor(
    dir: string,
    controlPlane: TestControlPlane,
    client: KubeClient,
    controller: ChaosProcess<ControllerProgramOptions>,
  ) {
    this.#dir = dir;
    this.#controlPlane = controlPlane;
    this.client = client;
    this.controller = controller;
    this.ledger = join(dir, 'ledger');
  }

  /** With a controller that runs, and no host. */
  static async open(options: { readonly hostGraceMs?: number } = {}): Promise<ChaosWorld> {
    const dir = await mkdtemp(join(tmpdir(), 'c-'));
    const controlPlane = await startTestControlPlane();
    const { kubeconfigPath: kubeconfig } = controlPlane;
    const client = loadKubeClient({ kubeconfigPath: kubeconfig, userAgent: 'shoes-vz-test/0' });
    const controller = new ChaosProcess('controller-program.ts', { kubeconfig, ...options });
    const world = new ChaosWorld(dir, controlPlane, client, controller);
    try {
      await mkdir(world.ledger);
      await world.#declare();
      await controller.start();
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  get controlPlane(): TestControlPlane {
    return this.#controlPlane;
  }

  /** kill -9 of the API server, or of etcd, without which it goes too; both are back when the work is done. */
  async withoutApi(
    work: () => Promise<unknown>,
    killed: 'kubeApiserver' | 'etcd' = 'kubeApiserver',
  ): Promise<void> {
    process.kill(this.#controlPlane.pids[killed], 'SIGKILL');
    await this.#controlPlane.exited;
    try {
      await work();
    } finally {
      this.#controlPlane = await this.#controlPlane.restart();
    }
  }

  /** Another host, whose daemon runs and holds the template. `root`: an existing directory. */
  async host(options: Partial<HostOptions> & { readonly root?: string } = {}): Promise<ChaosHost> {
    const name = `host-${this.hosts.length}-${randomBytes(2).toString('hex')}`;
    const root = options.root ?? join(this.#dir, name);
    const subnet = `127.${FIRST_SUBNET + ((this.#subnets + this.hosts.length) % SUBNETS)}`;
    const { kubeconfigPath: kubeconfig } = this.#controlPlane;
    const host = new ChaosHost({ kubeconfig, subnet, ...options, hostRoot: root, hostName: name });
    this.hosts.push(host);
    await placeTemplate(root, TEMPLATE);
    await host.daemon.start();
    await until(`${name} to be ready`, async () => {
      const object = await this.client.resources<Host>(LINUX_HOSTS).get({ name });
      const isReady = object?.status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
      return isReady && (object?.status?.templates?.length ?? 0) > 0;
    });
    return host;
  }

  /** The line that a script begins with, so that its runs are counted. */
  noting(name: string): string {
    return `echo ran >> ${join(this.ledger, name)}`;
  }

  /** A script that counts its run and then goes on until {@link letGo}. */
  waiting(name: string): string {
    return `${this.noting(name)}; while [ ! -e ${join(this.ledger, `${name}.go`)} ]; do sleep 0.1; done; echo bye`;
  }

  async letGo(name: string): Promise<void> {
    await writeFile(join(this.ledger, `${name}.go`), '');
  }

  /** How often the script of a Runner of that name was run. */
  async runs(name: string): Promise<number> {
    const path = join(this.ledger, name);
    return existsSync(path) ? (await readFile(path, 'utf8')).trim().split('\n').length : 0;
  }

  /** A Runner whose job is a script that leaves a line in the ledger. `host`: the only one that it may run on. */
  async create(
    name: string,
    { host, ...spec }: Partial<RunnerSpec> & { readonly host?: ChaosHost | undefined } = {},
  ): Promise<Stored<Runner>> {
    const object: Runner = {
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name, namespace: NAMESPACE },
      spec: {
        templateName: TEMPLATE,
        completion: 'Script',
        startAttempts: 3,
        setupScript: { inline: this.noting(name) },
        ...(host === undefined ? {} : { hostSelector: { 'chaos.test/host': host.name } }),
        ...spec,
      },
    };
    return await this.client.resources<Runner>(RUNNERS).create(object);
  }

  async get(name: string): Promise<Stored<Runner> | undefined> {
    return await this.client.resources<Runner>(RUNNERS).get({ namespace: NAMESPACE, name });
  }

  async delete(name: string): Promise<void> {
    await this.client.resources<Runner>(RUNNERS).delete({ namespace: NAMESPACE, name });
  }

  async when(
    name: string,
    what: string,
    is: (runner: Stored<Runner> | undefined) => boolean,
  ): Promise<Stored<Runner> | undefined> {
    let seen: Stored<Runner> | undefined;
    await until(
      `${name} to be ${what}`,
      async () => {
        seen = await this.get(name);
        return is(seen);
      },
      () => this.describe(seen),
    );
    return seen;
  }

  async whenPhase(name: string, ...phases: string[]): Promise<Stored<Runner>> {
    const is = (runner?: Runner): boolean => phases.includes(runner?.status?.phase ?? '');
    const runner = await this.when(name, phases.join(' or '), is);
    if (runner === undefined) throw new Error('unreachable');
    return runner;
  }

  async whenReady(name: string): Promise<Stored<Runner>> {
    const isReady = (runner?: Runner): boolean => conditionOf(runner, 'Ready')?.status === 'True';
    const runner = await this.when(name, 'Ready', isReady);
    if (runner === undefined) throw new Error('unreachable');
    return runner;
  }

  /** Deletes it, and waits until it is gone. */
  async burn(...names: string[]): Promise<void> {
    for (const name of names) await this.delete(name);
    for (const name of names) await this.whenGone(name);
  }

  async whenGone(name: string): Promise<void> {
    await this.when(name, 'gone', (runner) => runner === undefined);
  }

  describe(runner: Stored<Runner> | undefined): string {
    const logs = this.hosts.map(({ name, daemon }) => `--- ${name}\n${daemon.output.slice(-3_000)}`);
    const controller = `--- controller\n${this.controller.output.slice(-3_000)}`;
    return [JSON.stringify(runner ?? 'no such Runner'), ...logs, controller].join('\n');
  }

  async remains(hosts: readonly ChaosHost[] = this.hosts): Promise<Remains> {
    return await countRemains(this.#oracle(hosts));
  }

  /** Of these hosts and of Runners bound to them; of Runners that are not bound only where all hosts are asked. */
  async untilNothingIsLeft(hosts: readonly ChaosHost[] = this.hosts): Promise<void> {
    await untilNothingIsLeft(this.#oracle(hosts));
  }

  /** Kills everything and removes it, whatever state it is in. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await Promise.all([this.controller.kill9(), ...this.hosts.map((host) => host.destroy())]);
    await this.client.close();
    await this.#controlPlane.destroy();
    await rm(this.#dir, { recursive: true, force: true });
  }

  #oracle(hosts: readonly ChaosHost[]): OracleOptions {
    const names = new Set(hosts.map(({ name }) => name));
    const areAll = hosts.length === this.hosts.length;
    return {
      client: this.client,
      hostRoots: hosts.map(({ root }) => root),
      isOfVm: (address) => hosts.some(({ subnet }) => address.startsWith(`${subnet}.`)),
      isMine: ({ spec }) => areAll || names.has(spec.binding?.hostName ?? ''),
      declaredLeases: [...this.hosts.map(({ name }) => name), 'shoes-vz-controller'],
    };
  }

  async #declare(): Promise<void> {
    await ensureSystemNamespace(this.client);
    const small = defaultRunnerClass({ spec: { cpu: 1, memory: '64Mi', disk: '16Mi' } });
    await this.client.resources<RunnerClass>(RUNNER_CLASSES).create(small);
    const { status: _, ...golden } = template({
      metadata: { name: TEMPLATE },
      spec: { source: { bundle: { name: TEMPLATE, digest: undefined } } },
    });
    await this.client.resources<Template>(TEMPLATES).create(golden);
  }
}

export const conditionOf = (runner: Runner | undefined, type: string) =>
  runner?.status?.conditions?.find((condition) => condition.type === type);
