import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { recallAccelerator, rememberAccelerator } from '../../cli/accelerator-cache.ts';
import { cacheDirectory } from '../../cli/control-plane/binaries-cache.ts';
import { type ControlPlane, startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { installCrds } from '../../cli/control-plane/crds.ts';
import { ensurePackages } from '../../cli/setup/packages.ts';
import { buildLinuxTemplate } from '../../cli/template/build.ts';
import { placeTemplate } from '../../cli/template/place.ts';
import type { Host } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner, RunnerSpec } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import type { AuditEvent } from './audit.ts';
import type { BenchContext } from './run.ts';

export const HOST_NAME = 'bench';
const BURN_LIMIT_MS = 60_000;
const BURN_LOOK_MS = 100;

/** A real API server, and the directory of a host that holds a template. */
export interface World {
  readonly controlPlane: ControlPlane;
  /** Of the benchmark itself. */
  readonly client: KubeClient;
  readonly dir: string;
  readonly hostRoot: string;
  /** Everything that the API server was asked so far. */
  audit(): Promise<AuditEvent[]>;
  create(name: string, spec?: Partial<RunnerSpec>): Promise<Stored<Runner>>;
  delete(name: string): Promise<void>;
  /** Deletes all Runners and waits until they are gone, for a minute at most. */
  burnAll(): Promise<void>;
}

/**
 * An API server with an audit log, its etcd writing durably as in production. It and its directory are gone at
 * the end.
 */
export async function startApiServer(
  { tell, onEnd }: BenchContext,
  { durable = true }: { durable?: boolean } = {},
): Promise<Omit<World, 'hostRoot'>> {
  const dir = await mkdtemp(join(tmpdir(), 'svz-'));
  onEnd(() => rm(dir, { recursive: true, force: true }));
  const auditLog = join(dir, 'audit.log');
  const controlPlane = await startControlPlane({
    dataDir: join(dir, 'data'),
    auditLog,
    unsafeNoFsync: !durable,
    log: tell,
  });
  onEnd(() => controlPlane.stop());
  const client = loadKubeClient({
    kubeconfigPath: controlPlane.kubeconfigPath,
    userAgent: 'shoes-vz-bench/0',
  });
  onEnd(() => client.close());
  await installCrds(client);
  const runners = client.resources<Runner>(RUNNERS);
  return {
    controlPlane,
    client,
    dir,
    audit: async () => {
      const lines = (await readFile(auditLog, 'utf8')).trim().split('\n');
      return lines.map((line) => JSON.parse(line) as AuditEvent);
    },
    create: (name, spec) =>
      runners.create({
        apiVersion: API_VERSION,
        kind: 'Runner',
        metadata: { name, namespace: 'default' },
        spec: {
          templateName: 'linux',
          completion: 'Never',
          startAttempts: 1,
          setupScript: { inline: 'true' },
          ...spec,
        },
      }),
    delete: async (name) => {
      await runners.delete({ namespace: 'default', name });
    },
    burnAll: () => burnAll(runners),
  };
}

async function burnAll(runners: Resources<Runner>): Promise<void> {
  const deadline = performance.now() + BURN_LIMIT_MS;
  for (;;) {
    const { items } = await runners.list();
    if (items.length === 0) return;
    if (performance.now() > deadline) throw new Error(`${items.length} Runners are still there`);
    for (const { metadata } of items) {
      if (metadata.deletionTimestamp === undefined) await runners.delete(metadata);
    }
    await delay(BURN_LOOK_MS);
  }
}

/** {@link startApiServer}, and a host's root with the template `debian`; a class and a Template are declared. */
export async function startWorld(context: BenchContext, hostRoot?: string): Promise<World> {
  const { tell, onEnd } = context;
  await ensurePackages(['run-vms', 'build-template', 'tests'], { progress: tell });
  const cacheDir = cacheDirectory(process.env);
  const templates = join(cacheDir, 'templates');
  const { signal } = new AbortController();
  await buildLinuxTemplate({ name: 'debian', out: templates, log: tell, signal });
  const server = await startApiServer(context);
  const root = hostRoot ?? join(server.dir, 'host');
  await mkdir(join(root, 'templates'), { recursive: true });
  await placeTemplate(join(templates, 'debian'), join(root, 'templates'));
  await recallAccelerator(cacheDir, root);
  onEnd(() => rememberAccelerator(cacheDir, root));
  await declare(server.client);
  return { ...server, hostRoot: root };
}

async function declare(client: KubeClient): Promise<void> {
  await client.resources<RunnerClass>(RUNNER_CLASSES).create({
    apiVersion: API_VERSION,
    kind: 'RunnerClass',
    metadata: { name: 'tiny', annotations: { 'shoesvz.dev/is-default-class': 'true' } },
    spec: { cpu: 1, memory: '384Mi', disk: '2Gi' },
  });
  await client.resources<Template>(TEMPLATES).create({
    apiVersion: API_VERSION,
    kind: 'Template',
    metadata: { name: 'linux' },
    spec: {
      os: 'linux',
      arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
      ssh: { user: 'runner', port: 22 },
      guestAgent: { enabled: true, port: 8080 },
      source: { bundle: { name: 'debian' } },
    },
  });
}

/** Changes how many VMs the host takes. */
export async function setMaxRunners(client: KubeClient, maxRunners: number): Promise<void> {
  const hosts = client.resources<Host>(LINUX_HOSTS);
  const host = await hosts.get({ name: HOST_NAME });
  if (host === undefined) throw new Error('the host has not registered');
  await hosts.patch({ name: HOST_NAME }, host.metadata.resourceVersion, { spec: { maxRunners } });
}
