import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { KubeClient } from '../../kube/client.ts';
import { LEASES } from '../../kube/lease.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import { until } from '../harness/until.ts';

/**
 * What is there of VMs, each by its name: on the machine, by the kernel's own word and that of the file systems, and
 * on the API server. Nothing is asked of the programs that are tested.
 */
export interface Remains {
  /** Command lines of processes that name a bundle, or work in one. */
  readonly processes: readonly string[];
  /** Names in `runners/` of the host roots. */
  readonly bundles: readonly string[];
  /** Clones and overlays of disks, wherever they lie in a host root but in a template. */
  readonly overlays: readonly string[];
  /** Addresses that are listened on where VMs are reached. */
  readonly ports: readonly string[];
  /** Unix sockets that are bound in a host root, and files of such. */
  readonly sockets: readonly string[];
  /** Half-written files in host roots and beside them. */
  readonly temporaries: readonly string[];
  /** Leases of hosts that nobody declared. */
  readonly leases: readonly string[];
  /** Finalizers of ours on Runners. */
  readonly finalizers: readonly string[];
  readonly runners: readonly string[];
  /** Secrets in the namespaces, but for those that the test made. */
  readonly secrets: readonly string[];
}

export const NOTHING: Remains = {
  processes: [],
  bundles: [],
  overlays: [],
  ports: [],
  sockets: [],
  temporaries: [],
  leases: [],
  finalizers: [],
  runners: [],
  secrets: [],
};

export interface OracleOptions {
  readonly client: KubeClient;
  readonly hostRoots: readonly string[];
  /** Whether VMs are reached under this address (`127.93.7.1:2222`). */
  readonly isOfVm: (address: string) => boolean;
  /** Only what this says yes to is counted of Runners: other tests may have theirs. Default: all. */
  readonly isMine?: ((runner: Runner) => boolean) | undefined;
  /** Names of Leases that are there on purpose: one for each host that serves, and the leader's. */
  readonly declaredLeases: readonly string[];
  /** `namespace/name` of Secrets that the test made. */
  readonly declaredSecrets?: readonly string[] | undefined;
}

const SECRETS: ResourceType<KubeObject> = {
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
};

export async function countRemains(options: OracleOptions): Promise<Remains> {
  const files = (await Promise.all(options.hostRoots.map((root) => filesOf(root)))).flat();
  const [api, processes, ports, bound] = await Promise.all([
    onApi(options),
    processesIn(options.hostRoots),
    listening(options.isOfVm),
    boundSockets(options.hostRoots),
  ]);
  return {
    ...api,
    processes,
    ports,
    bundles: (await Promise.all(options.hostRoots.map((root) => namesIn(join(root, 'runners'))))).flat(),
    overlays: files.filter((path) => /Disk\.(img|qcow2)/.test(basename(path))),
    sockets: [...bound, ...files.filter((path) => path.endsWith('.sock'))],
    temporaries: files.filter((path) => path.endsWith('.tmp')),
  };
}

/** Waits until nothing is left, and says what is where that does not come to be. */
export async function untilNothingIsLeft(options: OracleOptions): Promise<void> {
  let seen = NOTHING;
  await until(
    'nothing to be left',
    async () => {
      seen = await countRemains(options);
      return Object.values(seen).every((names: readonly string[]) => names.length === 0);
    },
    () => JSON.stringify(Object.fromEntries(Object.entries(seen).filter(([, names]) => names.length > 0))),
  );
}

async function onApi(
  options: OracleOptions,
): Promise<Pick<Remains, 'leases' | 'finalizers' | 'runners' | 'secrets'>> {
  const { client, isMine = () => true, declaredLeases, declaredSecrets = [] } = options;
  const [runners, leases, secrets] = await Promise.all([
    client.resources<Runner>(RUNNERS).list(),
    client.resources(LEASES).list({ namespace: SYSTEM_NAMESPACE }),
    client.resources(SECRETS).list(),
  ]);
  const mine = runners.items.filter(isMine);
  const secretNames = secrets.items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  return {
    runners: mine.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    finalizers: mine.flatMap(({ metadata }) => metadata.finalizers ?? []),
    leases: leases.items
      .map(({ metadata }) => metadata.name)
      .filter((name) => !declaredLeases.includes(name)),
    secrets: secretNames.filter((name) => !declaredSecrets.includes(name)),
  };
}

/** All files but those of templates, sockets too. What goes away meanwhile is gone. */
async function filesOf(root: string, directory = root): Promise<string[]> {
  if (directory === join(root, 'templates')) return [];
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const paths = entries.map((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesOf(root, path) : [path];
  });
  return (await Promise.all(paths)).flat();
}

async function namesIn(directory: string): Promise<string[]> {
  return await readdir(directory).catch(() => []);
}

async function processesIn(roots: readonly string[]): Promise<string[]> {
  const bundles = roots.map((root) => join(root, 'runners/'));
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  const described = await Promise.all(
    pids.map(async (pid) => {
      const [cmdline, cwd] = await Promise.all([
        readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
        readlink(`/proc/${pid}/cwd`).catch(() => ''),
      ]);
      const isOfVm = bundles.some((prefix) => cmdline.includes(prefix) || cwd.startsWith(prefix));
      return isOfVm ? `${pid} ${cmdline.replaceAll('\0', ' ').trim()}` : undefined;
    }),
  );
  return described.filter((line) => line !== undefined);
}

const LISTEN = '0A';

/** From the kernel's table of IPv4 sockets: the address is little-endian, in hexadecimal. */
async function listening(isOfVm: (address: string) => boolean): Promise<string[]> {
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').slice(1);
  const addresses = lines.flatMap((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    const [host, port] = local?.split(':') ?? [];
    if (state !== LISTEN || host === undefined || port === undefined) return [];
    const octets = [...Buffer.from(host, 'hex')].reverse().join('.');
    return [`${octets}:${Number.parseInt(port, 16)}`];
  });
  return addresses.filter(isOfVm);
}

async function boundSockets(roots: readonly string[]): Promise<string[]> {
  const lines = (await readFile('/proc/net/unix', 'utf8')).split('\n');
  const paths = lines.map((line) => line.split(' ').at(-1) ?? '');
  return paths.filter((path) => roots.some((root) => path.startsWith(`${root}/`)));
}
