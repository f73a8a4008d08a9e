import { setTimeout as delay } from 'node:timers/promises';
import { type ControllerOptions, type RunningController, runController } from '../../controller/main.ts';
import type { Host } from '../../crds/host.ts';
import { finalizerName, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { HOST_RESOURCES, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isConflict } from '../../kube/errors.ts';
import { Informer } from '../../kube/informer.ts';
import { LEASES, type Lease } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import { linuxHost } from '../builders/host.ts';
import { type Overrides, withOverrides } from '../builders/overrides.ts';
import { runner } from '../builders/runner.ts';
import { testNamespace, uniqueName } from '../harness/control-plane.ts';

const DEADLINE_MS = 20_000;

export interface WorldOptions {
  readonly client: KubeClient;
  readonly controllerClient: KubeClient;
  readonly namespace: string;
  readonly log: Logger;
}

/** A Runner as somebody who watches sees it, at each change. */
export type Sight = Stored<Runner>;

/**
 * One test's view of a control plane: makes objects, plays the node daemons, and watches what the controller
 * does. Everything made is deleted by {@link close}.
 */
export class ControllerWorld {
  /** The administrator's. */
  readonly client: KubeClient;
  /** With the controller's rights. */
  readonly controllerClient: KubeClient;
  readonly namespace: string;
  readonly log: Logger;
  /** All states of all Runners of the namespace, in the order in which they came. */
  readonly sights: Sight[] = [];
  readonly #watch: Informer<Runner>;
  readonly #controllers: RunningController[] = [];
  readonly #made: (() => Promise<unknown>)[] = [];
  #waiters: (() => void)[] = [];

  private constructor({ client, controllerClient, namespace, log }: WorldOptions) {
    this.client = client;
    this.controllerClient = controllerClient;
    this.namespace = namespace;
    this.log = log;
    this.#watch = new Informer<Runner>({ client, type: RUNNERS, namespace });
    const saw = (object: Sight) => {
      this.sights.push(object);
      this.#wake();
    };
    this.#watch.on({ added: saw, updated: (_, object) => saw(object), deleted: () => this.#wake() });
  }

  static async open(options: Omit<WorldOptions, 'namespace'>): Promise<ControllerWorld> {
    const world = new ControllerWorld({ ...options, namespace: await testNamespace(options.client) });
    world.#watch.start();
    await world.#watch.synced;
    return world;
  }

  async controller(options: Partial<ControllerOptions> = {}): Promise<RunningController> {
    const controller = await runController({
      client: this.controllerClient,
      log: this.log,
      ...options,
    });
    this.#controllers.push(controller);
    await controller.ready;
    return controller;
  }

  /** A ready host for so many Runners, with a Lease, as its node daemon would have reported it. */
  async host(runners: number, overrides?: Overrides<Host>): Promise<Stored<Host>> {
    const host = withOverrides(
      linuxHost({ metadata: { name: uniqueName('host') }, status: { allocatable: { runners } } }),
      overrides,
    );
    const resources = this.client.resources<Host>(HOST_RESOURCES[host.kind]);
    const created = await resources.create(host);
    this.#made.push(() => this.#deleteHost(created));
    await this.renewLease(host.metadata.name);
    return await resources.patchStatus(created.metadata, created.metadata.resourceVersion, {
      status: host.status ?? {},
    });
  }

  async patchHost(host: Stored<Host>, patch: object): Promise<Stored<Host>> {
    const resources = this.client.resources<Host>(HOST_RESOURCES[host.kind]);
    const current = await resources.get({ name: host.metadata.name });
    if (current === undefined) throw new Error(`host ${host.metadata.name} is gone`);
    return await resources.patch(current.metadata, current.metadata.resourceVersion, patch);
  }

  async patchRunner(name: string, patch: object): Promise<Stored<Runner>> {
    const runners = this.client.resources<Runner>(RUNNERS);
    const ref = { namespace: this.namespace, name };
    const current = await runners.get(ref);
    if (current === undefined) throw new Error(`Runner ${name} is gone`);
    return await runners.patch(ref, current.metadata.resourceVersion, patch);
  }

  /** Whatever finalizers it has. */
  async #deleteHost(host: Stored<Host>): Promise<void> {
    const resources = this.client.resources<Host>(HOST_RESOURCES[host.kind]);
    const current = await resources.get({ name: host.metadata.name });
    if (current === undefined) return;
    if ((current.metadata.finalizers ?? []).length > 0) {
      await this.patchHost(host, { metadata: { finalizers: [] } });
    }
    await resources.delete({ name: host.metadata.name });
  }

  async getHost(host: Stored<Host>): Promise<Stored<Host> | undefined> {
    return await this.client.resources<Host>(HOST_RESOURCES[host.kind]).get({ name: host.metadata.name });
  }

  async renewLease(name: string): Promise<void> {
    const leases = this.client.resources(LEASES);
    const ref = { namespace: SYSTEM_NAMESPACE, name };
    const spec = {
      holderIdentity: `machine of ${name}`,
      leaseDurationSeconds: 1,
      renewTime: `${new Date().toISOString().slice(0, -1)}000Z`,
    };
    const lease = await leases.get(ref);
    if (lease !== undefined) {
      await leases.patch(ref, lease.metadata.resourceVersion, { spec });
      return;
    }
    const object: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: ref, spec };
    await leases.create(object);
    this.#made.push(() => leases.delete(ref));
  }

  async template(object: Template): Promise<Stored<Template>> {
    const { status: _, ...template } = object;
    const templates = this.client.resources<Template>(TEMPLATES);
    this.#made.push(() => templates.delete({ name: object.metadata.name }));
    return await templates.create(template);
  }

  async runnerClass(object: RunnerClass): Promise<Stored<RunnerClass>> {
    const classes = this.client.resources<RunnerClass>(RUNNER_CLASSES);
    this.#made.push(() => classes.delete({ name: object.metadata.name }));
    return await classes.create(object);
  }

  async runner(name: string, overrides?: Overrides<Runner>): Promise<Stored<Runner>> {
    const { status: _, ...object } = runner({
      ...overrides,
      metadata: { ...overrides?.metadata, name, namespace: this.namespace },
    });
    return await this.client.resources<Runner>(RUNNERS).create(object);
  }

  /** What a node daemon does at the end of a Runner's life: the outcome, then its finalizer. */
  async finish(name: string): Promise<void> {
    const runners = this.client.resources<Runner>(RUNNERS);
    const ref = { namespace: this.namespace, name };
    const object = await runners.get(ref);
    if (object === undefined) return;
    const told = await runners.patchStatus(ref, object.metadata.resourceVersion, {
      status: {
        phase: 'Finished',
        observedGeneration: object.metadata.generation,
        finishedAt: new Date().toISOString(),
      },
    });
    await this.#letGo(told);
  }

  /** The controller may delete what is over at any moment. */
  async #letGo(runner: Stored<Runner>): Promise<void> {
    const runners = this.client.resources<Runner>(RUNNERS);
    for (let last: Stored<Runner> | undefined = runner; last !== undefined; ) {
      const { resourceVersion, finalizers = [] } = last.metadata;
      if (finalizers.length === 0) return;
      try {
        await runners.patch(runner.metadata, resourceVersion, { metadata: { finalizers: [] } });
        return;
      } catch (error) {
        if (!isConflict(error)) throw error;
        last = await runners.get(runner.metadata);
      }
    }
  }

  /** What a node daemon does when a start has failed and nothing is left of it. */
  async failStart(name: string, reason = 'CloneFailed'): Promise<void> {
    const object = await this.tellFailure(name, reason);
    const finalizer = finalizerName(object.spec.binding?.hostName ?? '', object.spec.binding?.attempt ?? 0);
    await this.letGo(name, finalizer);
  }

  /** The first half of {@link failStart}: the finalizer stands. */
  async tellFailure(name: string, reason = 'CloneFailed'): Promise<Stored<Runner>> {
    return await this.#patchStatus(name, ({ spec: { binding }, status }) => {
      const { attempt = 0, hostName = '' } = binding ?? {};
      const finishedAt = new Date().toISOString();
      const attempts = [
        ...(status?.attempts ?? []),
        { attempt, hostName, reason, message: 'no', finishedAt },
      ];
      return { phase: 'Pending', attempt, attempts };
    });
  }

  /** What a node daemon does once SSH answers. */
  async passGate(name: string): Promise<Stored<Runner>> {
    return await this.#patchStatus(name, ({ spec }) => ({
      phase: 'SSHReady',
      attempt: spec.binding?.attempt,
      scriptAttempt: spec.binding?.attempt,
    }));
  }

  /** Removes a finalizer, however often others write meanwhile. */
  async letGo(name: string, finalizer: string): Promise<void> {
    const runners = this.client.resources<Runner>(RUNNERS);
    await this.#unlessConflict(name, async ({ metadata }) => {
      const finalizers = (metadata.finalizers ?? []).filter((one) => one !== finalizer);
      return await runners.patch(metadata, metadata.resourceVersion, { metadata: { finalizers } });
    });
  }

  async #patchStatus(name: string, status: (runner: Stored<Runner>) => object): Promise<Stored<Runner>> {
    const runners = this.client.resources<Runner>(RUNNERS);
    return await this.#unlessConflict(name, async (object) => {
      const { metadata } = object;
      return await runners.patchStatus(metadata, metadata.resourceVersion, { status: status(object) });
    });
  }

  async #unlessConflict<T>(name: string, write: (runner: Stored<Runner>) => Promise<T>): Promise<T> {
    for (;;) {
      const object = await this.client.resources<Runner>(RUNNERS).get({ namespace: this.namespace, name });
      if (object === undefined) throw new Error(`there is no Runner ${name}`);
      try {
        return await write(object);
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    }
  }

  get(name: string): Stored<Runner> | undefined {
    return this.#watch.store.get({ namespace: this.namespace, name });
  }

  list(): Stored<Runner>[] {
    return this.#watch.store.list();
  }

  /** Names of Runners in the order in which they were seen bound. */
  get boundOrder(): string[] {
    const bound = this.sights.filter(({ spec }) => spec.binding !== undefined);
    return [...new Set(bound.map(({ metadata }) => metadata.name))];
  }

  /** Waits for this attempt, and tells the host that it is bound to. */
  async attempt(name: string, attempt: number): Promise<string> {
    const binding = () => this.get(name)?.spec.binding;
    await this.until(`attempt ${attempt} of ${name}`, () => binding()?.attempt === attempt);
    return binding()?.hostName ?? '';
  }

  /** Host of each Runner that is bound. */
  async bound(...names: string[]): Promise<string[]> {
    const host = (name: string) => this.get(name)?.spec.binding?.hostName;
    await this.until(`${names.join(', ')} bound`, () => names.every((name) => host(name) !== undefined));
    return names.map((name) => host(name) ?? '');
  }

  /** Waits until a Runner's condition Bound is False with this message. */
  async saysOf(name: string, message: string): Promise<Stored<Runner>> {
    const says = () => this.condition(name, 'Bound')?.message;
    await this.until(`Runner ${name} to say "${message}"`, () => says() === message, says);
    const object = this.get(name);
    if (object === undefined) throw new Error(`Runner ${name} is gone`);
    return object;
  }

  condition(name: string, type: string) {
    return this.get(name)?.status?.conditions?.find((condition) => condition.type === type);
  }

  /** Waits for a state of the Runners; looks at each change. */
  async until(what: string, isSo: () => boolean, instead?: () => unknown): Promise<void> {
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    while (!isSo()) {
      const changed = new Promise<void>((resolve) => this.#waiters.push(resolve));
      const timedOut = new Promise<void>((resolve) => {
        deadline.addEventListener('abort', () => resolve(), { once: true });
      });
      await Promise.race([changed, timedOut]);
      if (deadline.aborted && !isSo()) {
        const seen = instead === undefined ? '' : `; instead: ${String(instead())}`;
        throw new Error(`waited ${DEADLINE_MS / 1000} s in vain for ${what}${seen}`);
      }
    }
  }

  /** Waits for something that is asked for at short intervals. */
  async eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const answer = await ask();
      if (answer !== undefined) return answer;
      if (performance.now() > deadline) throw new Error(`waited ${DEADLINE_MS / 1000} s in vain for ${what}`);
      await delay(20);
    }
  }

  async close(): Promise<void> {
    for (const controller of this.#controllers) await controller.stop();
    const runners = this.client.resources<Runner>(RUNNERS);
    const { items } = await runners.list({ namespace: this.namespace });
    for (const { metadata } of items) {
      if ((metadata.finalizers ?? []).length > 0) await this.finish(metadata.name);
      await runners.delete(metadata);
    }
    for (const unmake of this.#made) await unmake();
    await this.#watch.stop();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }
}
