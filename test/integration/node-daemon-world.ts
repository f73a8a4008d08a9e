import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { API_VERSION, finalizerName } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner, RunnerSpec } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { systemClock } from '../../kube/clock.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import { type NodeDaemon, startNodeDaemon } from '../../node-daemon/main.ts';
import { FakeGuests } from '../../node-daemon/runner/testing/fake-guests.ts';
import { BundleStore } from '../../node-daemon/vm/bundle.ts';
import type { BundlePaths } from '../../node-daemon/vm/driver.ts';
import { FakeDriver } from '../../node-daemon/vm/fake/driver.ts';
import { FakeMachine } from '../../node-daemon/vm/fake/machine.ts';
import { template } from '../builders/template.ts';
import { testNamespace, uniqueName } from '../harness/control-plane.ts';
import { until } from '../harness/until.ts';
import { ensureSystemNamespace, hosts, placeTemplate, recordingLog } from './host-fixture.ts';

/**
 * A node daemon as it is, on a real API server; its VMs and their guests are fakes that outlive it. The test plays
 * the controller.
 */
export class DaemonWorld {
  readonly hostName = uniqueName('host');
  readonly machine = new FakeMachine();
  readonly guests = new FakeGuests(this.machine);
  readonly log = recordingLog();
  readonly root: string;
  readonly stateFile: string;
  readonly namespace: string;
  readonly #client: KubeClient;
  readonly #templateName = uniqueName('template');
  #templateDigest = '';
  #daemon: NodeDaemon | undefined;

  private constructor(client: KubeClient, root: string, namespace: string) {
    this.#client = client;
    this.root = root;
    this.stateFile = join(root, 'runner-state.json');
    this.namespace = namespace;
  }

  static async open(client: KubeClient): Promise<DaemonWorld> {
    await ensureSystemNamespace(client);
    const root = await mkdtemp(join(tmpdir(), 'd-'));
    const world = new DaemonWorld(client, root, await testNamespace(client));
    await world.#declareTemplate();
    return world;
  }

  /** Starts a daemon, or the next one. `client`: another than the administrator's own. */
  async start(client = this.#client, signal?: AbortSignal): Promise<NodeDaemon> {
    this.#daemon = await startNodeDaemon({
      client,
      signal,
      hostRoot: this.root,
      hostName: this.hostName,
      driver: 'qemu',
      backend: (root) => {
        const bundles = new BundleStore(root);
        return {
          bundles,
          processes: this.machine,
          driver: new FakeDriver({ machine: this.machine, bundles }),
        };
      },
      guests: this.guests.access((ms, callback) => systemClock.setTimeout(callback, ms)),
      guestLinkPort: 0,
      stateFile: this.stateFile,
      version: '0.1.0',
      log: this.log,
    });
    return this.#daemon;
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
    this.guests.cut();
  }

  /** Ends the daemon and everything that it made. */
  async close(): Promise<void> {
    const runners = this.#client.resources<Runner>(RUNNERS);
    for (const { metadata } of (await runners.list({ namespace: this.namespace })).items) {
      await this.edit(metadata.name, { metadata: { finalizers: [] } }).catch(() => undefined);
      await runners.delete(metadata);
    }
    await this.stop();
    await this.#client.resources(LINUX_HOSTS).delete({ name: this.hostName });
    await rm(this.root, { recursive: true, force: true });
  }

  async hostUid(): Promise<string> {
    return (await hosts(this.#client).get({ name: this.hostName }))?.metadata.uid ?? '';
  }

  async create(name: string, spec: Partial<RunnerSpec> = {}): Promise<Stored<Runner>> {
    return await this.#client.resources<Runner>(RUNNERS).create({
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name, namespace: this.namespace },
      spec: {
        templateName: this.#templateName,
        completion: 'Never',
        startAttempts: 1,
        setupScript: { inline: 'echo hello' },
        ...spec,
      },
    });
  }

  /** Line 2 of the binding protocol: to this host, or to another. */
  async bind(name: string, host?: { readonly name: string; readonly uid: string }): Promise<Stored<Runner>> {
    const to = host ?? { name: this.hostName, uid: await this.hostUid() };
    return await this.edit(name, ({ metadata, spec }) => {
      const attempt = (spec.binding?.attempt ?? 0) + 1;
      return {
        metadata: { finalizers: [...(metadata.finalizers ?? []), finalizerName(to.name, attempt)] },
        spec: {
          binding: {
            hostName: to.name,
            hostUID: to.uid,
            attempt,
            resources: { cpu: 1, memory: '512Mi', disk: '1Gi' },
            templateDigest: this.#templateDigest,
          },
        },
      };
    });
  }

  async createBound(name: string, spec?: Partial<RunnerSpec>): Promise<Stored<Runner>> {
    await this.create(name, spec);
    return await this.bind(name);
  }

  async get(name: string): Promise<Stored<Runner> | undefined> {
    return await this.#client.resources<Runner>(RUNNERS).get({ namespace: this.namespace, name });
  }

  /** As `kubectl patch` does: on what the daemon has written meanwhile, where it has. */
  async edit(name: string, patch: object | ((runner: Stored<Runner>) => object)): Promise<Stored<Runner>> {
    const runners = this.#client.resources<Runner>(RUNNERS);
    for (;;) {
      const runner = await this.get(name);
      if (runner === undefined) throw new Error(`there is no Runner ${name}`);
      try {
        const body = typeof patch === 'function' ? patch(runner) : patch;
        return await runners.patch(runner.metadata, runner.metadata.resourceVersion, body);
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    }
  }

  async delete(name: string): Promise<void> {
    await this.#client.resources<Runner>(RUNNERS).delete({ namespace: this.namespace, name });
  }

  async untilIs(
    name: string,
    what: string,
    isSo: (runner: Stored<Runner> | undefined) => boolean,
  ): Promise<Stored<Runner> | undefined> {
    let seen: Stored<Runner> | undefined;
    await until(
      `${name} to be ${what}`,
      async () => {
        seen = await this.get(name);
        return isSo(seen);
      },
      () => JSON.stringify([seen?.metadata, seen?.status, this.log.lines.slice(-20)]),
    );
    return seen;
  }

  async untilReady(name: string): Promise<Stored<Runner>> {
    const ready = (runner?: Runner) => conditionOf(runner, 'Ready')?.status === 'True';
    return (await this.untilIs(name, 'Ready', ready)) as Stored<Runner>;
  }

  async untilPhase(name: string, phase: string): Promise<Stored<Runner>> {
    return (await this.untilIs(name, phase, (runner) => runner?.status?.phase === phase)) as Stored<Runner>;
  }

  async untilGone(name: string): Promise<void> {
    await this.untilIs(name, 'gone', (runner) => runner === undefined);
  }

  paths(uid: string, attempt = 1): BundlePaths {
    return new BundleStore(this.root).paths(uid, attempt);
  }

  async onDisk(): Promise<string[]> {
    return await readdir(join(this.root, 'runners'));
  }

  async untilClean(): Promise<void> {
    await until('the disk to be clean', async () => (await this.onDisk()).length === 0);
  }

  async state(): Promise<{ runners: { name: string; phase: string }[] }> {
    return JSON.parse(await readFile(this.stateFile, 'utf8'));
  }

  async #declareTemplate(): Promise<void> {
    this.#templateDigest = await placeTemplate(this.root, 'debian');
    const { status: _, ...object } = template({
      metadata: { name: this.#templateName },
      spec: { source: { bundle: { name: 'debian' } } },
    });
    await this.#client.resources<Template>(TEMPLATES).create(object);
  }
}

export const conditionOf = (runner: Runner | undefined, type: string) =>
  runner?.status?.conditions?.find((condition) => condition.type === type);
