import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';
import { recallAccelerator, rememberAccelerator } from '../../cli/accelerator-cache.ts';
import { cacheDirectory } from '../../cli/control-plane/binaries-cache.ts';
import { placeTemplate } from '../../cli/template/place.ts';
import { type RunningController, runController } from '../../controller/main.ts';
import type { Host } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner, RunnerSpec } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import type { Stored } from '../../kube/object.ts';
import { startTestControlPlane, type TestControlPlane } from './control-plane.ts';
import { DaemonProcess } from './daemon-process.ts';
import { until } from './until.ts';

const execute = promisify(execFile);

export interface FleetOptions {
  /** Name → most VMs at once. Default: one host without a limit of its own. */
  readonly hosts?: Readonly<Record<string, number | undefined>>;
}

export interface FleetHost {
  readonly name: string;
  readonly root: string;
  daemon: DaemonProcess;
  /** Starts the daemon again, on the same root. */
  restart(): Promise<void>;
}

/** What the hosts hold: a template with the guest agent, and one without. */
const BUNDLES = ['debian', 'debian-plain'] as const;

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * A whole system for one test file: an API server with an audit log, a controller, node daemons in processes of
 * their own with real QEMU guests, the template `linux` and the default class `tiny`.
 */
export class Fleet {
  readonly controlPlane: TestControlPlane;
  readonly client: KubeClient;
  readonly hosts: readonly FleetHost[];
  readonly auditLog: string;
  readonly dir: string;
  readonly #controller: RunningController;
  readonly #controllerClient: KubeClient;

  private constructor(parts: {
    controlPlane: TestControlPlane;
    client: KubeClient;
    hosts: FleetHost[];
    auditLog: string;
    dir: string;
    controller: RunningController;
    controllerClient: KubeClient;
  }) {
    this.controlPlane = parts.controlPlane;
    this.client = parts.client;
    this.hosts = parts.hosts;
    this.auditLog = parts.auditLog;
    this.dir = parts.dir;
    this.#controller = parts.controller;
    this.#controllerClient = parts.controllerClient;
  }

  static async start(options: FleetOptions = {}): Promise<Fleet> {
    const dir = await mkdtemp(join(tmpdir(), 'svz-'));
    const auditLog = join(dir, 'audit.log');
    const controlPlane = await startTestControlPlane({ auditLog });
    const { kubeconfigPath } = controlPlane;
    const client = loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-test/0' });
    const controllerClient = loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-controller/0' });
    const controller = await runController({ client: controllerClient, log: quiet });
    await controller.ready;
    const hosts: FleetHost[] = [];
    for (const [name, maxRunners] of Object.entries(options.hosts ?? { 'host-a': undefined })) {
      hosts.push(await startHost(join(dir, name), name, kubeconfigPath, maxRunners));
    }
    const fleet = new Fleet({ controlPlane, client, hosts, auditLog, dir, controller, controllerClient });
    await fleet.declare();
    return fleet;
  }

  /** The only host of a fleet of one. */
  get host(): FleetHost {
    const [host] = this.hosts;
    if (host === undefined) throw new Error('the fleet has no host');
    return host;
  }

  async declare(): Promise<void> {
    const classes = this.client.resources<RunnerClass>(RUNNER_CLASSES);
    const annotations = { 'shoesvz.dev/is-default-class': 'true' };
    const tiny = { cpu: 1, memory: '384Mi', disk: '1Gi' };
    await classes.create({
      apiVersion: API_VERSION,
      kind: 'RunnerClass',
      metadata: { name: 'tiny', annotations },
      spec: tiny,
    });
    await this.declareTemplate('linux', 'debian');
    await until('the hosts to hold the templates', async () => {
      const { items } = await this.client.resources<Host>(LINUX_HOSTS).list();
      return (
        items.length === this.hosts.length &&
        items.every((host) => (host.status?.templates?.length ?? 0) >= 2)
      );
    });
  }

  /** A Template of that name, upon one of the bundles that the hosts hold. */
  async declareTemplate(name: string, bundle: string, guestAgent = true): Promise<void> {
    const spec = {
      os: 'linux',
      arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
      ssh: { user: 'runner', port: 22 },
      guestAgent: { enabled: guestAgent, port: 8080 },
      source: { bundle: { name: bundle } },
    } as const;
    await this.client
      .resources<Template>(TEMPLATES)
      .create({ apiVersion: API_VERSION, kind: 'Template', metadata: { name }, spec });
  }

  async create(name: string, spec: Partial<RunnerSpec> = {}): Promise<Stored<Runner>> {
    return await this.client.resources<Runner>(RUNNERS).create({
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name, namespace: 'default' },
      spec: { templateName: 'linux', completion: 'Never', startAttempts: 1, ...spec },
    });
  }

  async get(name: string): Promise<Stored<Runner> | undefined> {
    return await this.client.resources<Runner>(RUNNERS).get({ namespace: 'default', name });
  }

  /** Waits until the Runner is as the predicate wants it. */
  async when(name: string, what: string, is: (runner: Stored<Runner>) => boolean): Promise<Stored<Runner>> {
    let seen: Stored<Runner> | undefined;
    await until(
      `${name} to be ${what}`,
      async () => {
        seen = await this.get(name);
        return seen !== undefined && is(seen);
      },
      () => JSON.stringify(seen?.status ?? 'no such Runner'),
    );
    if (seen === undefined) throw new Error('unreachable');
    return seen;
  }

  async whenPhase(name: string, phase: string): Promise<Stored<Runner>> {
    return await this.when(name, phase, (runner) => runner.status?.phase === phase);
  }

  async whenReady(name: string): Promise<Stored<Runner>> {
    return await this.when(name, 'Ready', (runner) => conditionOf(runner, 'Ready')?.status === 'True');
  }

  async delete(name: string): Promise<void> {
    await this.client.resources<Runner>(RUNNERS).delete({ namespace: 'default', name });
  }

  /** Deletes it and waits until the object is gone. */
  async burn(name: string): Promise<void> {
    await this.delete(name);
    await until(`${name} to be gone`, async () => (await this.get(name)) === undefined);
  }

  /** The real kubectl. Rejects with its stderr. */
  async kubectl(...args: string[]): Promise<string> {
    const options = {
      env: { PATH: process.env.PATH, KUBECONFIG: this.controlPlane.kubeconfigPath, HOME: this.dir },
      timeout: 120_000,
    };
    return (await execute(this.controlPlane.kubectl, args, options)).stdout;
  }

  /** `kubectl apply -f -` of a text. */
  async apply(manifest: string): Promise<string> {
    const file = join(this.dir, 'manifest.yaml');
    await writeFile(file, manifest);
    return await this.kubectl('apply', '-f', file);
  }

  /** Runs a command in the guest, as a person on the host would: with the Runner's own key, host key pinned. */
  async ssh(runner: Stored<Runner>, command: string): Promise<string> {
    const ssh = runner.status?.ssh;
    if (ssh === undefined) throw new Error(`${runner.metadata.name} has no SSH`);
    const host = this.hosts.find(({ name }) => name === runner.spec.binding?.hostName) ?? this.host;
    const bundle = join(host.root, 'runners', `${runner.metadata.uid}.1.bundle`);
    const knownHosts = join(this.dir, `known-hosts-${runner.metadata.uid}`);
    await writeFile(knownHosts, `[${ssh.host}]:${ssh.port} ${ssh.hostKey}\n`);
    const options = [
      '-o',
      'BatchMode=yes',
      '-o',
      `UserKnownHostsFile=${knownHosts}`,
      '-o',
      'StrictHostKeyChecking=yes',
    ];
    const args = [
      '-i',
      join(bundle, 'id_ed25519'),
      '-p',
      String(ssh.port),
      ...options,
      `${ssh.user}@${ssh.host}`,
      command,
    ];
    return (await execute('ssh', args, { timeout: 60_000 })).stdout.trim();
  }

  /** What the audit log holds, of requests that came to an end. */
  async audit(): Promise<AuditEvent[]> {
    const lines = (await readFile(this.auditLog, 'utf8')).split('\n').filter((line) => line !== '');
    return lines
      .map((line) => JSON.parse(line) as AuditEvent)
      .filter(({ stage }) => stage === 'ResponseComplete');
  }

  async stop(): Promise<void> {
    const runners = await this.client.resources<Runner>(RUNNERS).list();
    for (const { metadata } of runners.items) await this.delete(metadata.name);
    const none = async (): Promise<boolean> =>
      (await this.client.resources<Runner>(RUNNERS).list()).items.length === 0;
    await until('all Runners to be gone', none);
    for (const { daemon } of this.hosts) await daemon.stop();
    await this.#controller.stop();
    await this.#controllerClient.close();
    await this.client.close();
    await this.controlPlane.destroy();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly userAgent: string;
  readonly requestURI: string;
  readonly requestReceivedTimestamp: string;
  readonly objectRef?:
    | { readonly resource: string; readonly subresource?: string; readonly name?: string }
    | undefined;
  readonly responseStatus?: { readonly code: number } | undefined;
}

/** Writes of our own programs. */
export const isOurWrite = ({ verb, userAgent }: AuditEvent): boolean =>
  ['create', 'update', 'patch', 'delete'].includes(verb) &&
  /^shoes-vz-(controller|node-daemon)\//.test(userAgent);

export const conditionOf = (runner: Runner, type: string) =>
  runner.status?.conditions?.find((condition) => condition.type === type);

async function startHost(
  root: string,
  name: string,
  kubeconfig: string,
  maxRunners: number | undefined,
): Promise<FleetHost> {
  const templates = inject('templatesDir');
  for (const bundle of BUNDLES) await placeTemplate(join(templates, bundle), join(root, 'templates'));
  const cacheDir = cacheDirectory(process.env);
  await recallAccelerator(cacheDir, root);
  const start = () => DaemonProcess.start({ kubeconfig, hostRoot: root, hostName: name, maxRunners });
  const daemon = await start();
  await rememberAccelerator(cacheDir, root);
  const host: FleetHost = {
    name,
    root,
    daemon,
    restart: async () => {
      host.daemon = await start();
    },
  };
  return host;
}
