import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Host, HostKind } from '../../crds/host.ts';
import { type Condition, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { HOST_RESOURCES } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isAlreadyExists, isConflict } from '../../kube/errors.ts';
import type { Logger } from '../../kube/log.ts';
import type { KubeObject, ResourceType, Stored } from '../../kube/object.ts';
import { type HostRoot, openHostRoot } from '../../node-daemon/host/host-root.ts';
import { type HostSessionOptions, openHostSession } from '../../node-daemon/host/open.ts';
import type { HostSession } from '../../node-daemon/host/session.ts';
import { BundleStore } from '../../node-daemon/vm/bundle.ts';
import { FakeDriver } from '../../node-daemon/vm/fake/driver.ts';
import { FakeMachine } from '../../node-daemon/vm/fake/machine.ts';
import {
  bundleDigest,
  TEMPLATE_FILES,
  TEMPLATE_METADATA,
  type TemplateMetadata,
} from '../../node-daemon/vm/template.ts';

interface Namespace extends KubeObject {
  kind: 'Namespace';
}
const NAMESPACES: ResourceType<Namespace> = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};

/** Makes the namespace that Leases lie in, unless it is there. */
export async function ensureSystemNamespace(client: KubeClient): Promise<void> {
  try {
    await client
      .resources(NAMESPACES)
      .create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM_NAMESPACE } });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}

export const hosts = (client: KubeClient, kind: HostKind = 'LinuxHost') =>
  client.resources<Host>(HOST_RESOURCES[kind]);

export const readyOf = (host: Stored<Host> | undefined): Condition | undefined => conditionOf(host, 'Ready');

export const conditionOf = (host: Stored<Host> | undefined, type: string): Condition | undefined =>
  host?.status?.conditions?.find((condition) => condition.type === type);

/** Changes an object that others change, too. */
export async function edit(
  client: KubeClient,
  name: string,
  patch: (host: Stored<Host>) => object,
): Promise<void> {
  for (;;) {
    const host = await hosts(client).get({ name });
    if (host === undefined) throw new Error(`no host ${name}`);
    try {
      await hosts(client).patch({ name }, host.metadata.resourceVersion, patch(host));
      return;
    } catch (error) {
      if (!isConflict(error)) throw error;
    }
  }
}

/** Seals a small template elsewhere and renames it into place. */
export async function placeTemplate(root: string, name: string, disk = `disk of ${name}`): Promise<string> {
  const digest = `sha256:${createHash('sha256').update(disk).digest('hex')}`;
  const files = { [TEMPLATE_FILES.disk]: { digest, size: disk.length } };
  const metadata: TemplateMetadata = {
    version: 1,
    name,
    os: 'linux',
    arch: 'amd64',
    files,
    digest: bundleDigest(files),
    user: 'runner',
    guestAgent: true,
    diskBytes: disk.length,
    createdAt: '2026-01-01T00:00:00Z',
  };
  const building = join(root, 'templates', `.${name}`);
  await mkdir(building, { recursive: true });
  await writeFile(join(building, TEMPLATE_FILES.disk), disk);
  await writeFile(join(building, TEMPLATE_METADATA), JSON.stringify(metadata));
  await rename(building, join(root, 'templates', name));
  return metadata.digest;
}

/** What a daemon logged, one line per entry. */
export function recordingLog(): Logger & { readonly lines: string[] } {
  const lines: string[] = [];
  const line = (_fields: object, message: string) => void lines.push(message);
  const log = { lines, debug: line, info: line, warn: line, error: line, child: () => log };
  return log;
}

export interface TestHost {
  readonly session: HostSession;
  readonly root: HostRoot;
  readonly machine: FakeMachine;
  readonly log: ReturnType<typeof recordingLog>;
}

/** Makes daemons' host halves on roots of their own, and ends them all. */
export class TestHosts {
  readonly #client: KubeClient;
  readonly #roots: HostRoot[] = [];
  readonly #directories: string[] = [];
  readonly #sessions: HostSession[] = [];

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** An empty root, locked. */
  async root(): Promise<HostRoot> {
    const directory = await mkdtemp(join(tmpdir(), 'h-'));
    this.#directories.push(directory);
    const root = await openHostRoot(directory);
    this.#roots.push(root);
    return root;
  }

  async open(
    name: string,
    options: Partial<HostSessionOptions> & { root?: HostRoot; fake?: FakeMachine } = {},
  ): Promise<TestHost> {
    const root = options.root ?? (await this.root());
    const machine = options.fake ?? new FakeMachine();
    const log = recordingLog();
    const session = await openHostSession({
      root,
      name,
      client: this.#client,
      driver: new FakeDriver({ machine, bundles: new BundleStore(root.path) }),
      daemonVersion: '0.1.0',
      heldUids: new Set(),
      log,
      ...options,
    });
    this.#sessions.push(session);
    return { session, root, machine, log };
  }

  async close(): Promise<void> {
    await Promise.all(this.#sessions.splice(0).map((session) => session.abandon({ releaseLease: true })));
    await Promise.all(this.#roots.splice(0).map((root) => root.release()));
    await Promise.all(this.#directories.splice(0).map((path) => rm(path, { recursive: true, force: true })));
  }
}
