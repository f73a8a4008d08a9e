import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { defaultBindAddress } from '../../cli/control-plane/address.ts';
import { type ControlPlane, startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { installCrds } from '../../cli/control-plane/crds.ts';
import { tryLock } from '../../cli/control-plane/lock.ts';
import { HOST_FINALIZER, type Host } from '../../crds/host.ts';
import { API_VERSION, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { LINUX_HOSTS, MAC_HOSTS } from '../../crds/resources.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { LEASES } from '../../kube/lease.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import { clientCertificate } from '../../kube/testing/certificates.ts';
import { openHostRoot } from '../../node-daemon/host/host-root.ts';
import { Command, runCommand } from '../harness/command.ts';
import { testClient, uniqueName } from '../harness/control-plane.ts';
import { until } from '../harness/until.ts';
import { only, refusal, Scratch, sharedKubeconfig } from './cli-refusal.ts';
import { placeTemplate } from './host-fixture.ts';

let scratch: Scratch;
let client: KubeClient;
let kubeconfig: string;

beforeAll(async () => {
  client = testClient();
  kubeconfig = await readFile(sharedKubeconfig(), 'utf8');
});
afterAll(() => client.close());
beforeEach(async () => {
  scratch = await Scratch.create();
});
afterEach(() => scratch.close());

/** A node daemon's call in which nothing is wrong, but for what is given. */
const daemon = (flags: Readonly<Record<string, string>>): string[] => [
  'node-daemon',
  ...Object.entries({
    '--kubeconfig': sharedKubeconfig(),
    '--host-root': scratch.path('root'),
    '--host-name': 'refused',
    '--state-file': scratch.path('state', 'runner-state.json'),
    '--guest-link-port': '0',
    '--metrics-port': '0',
    ...flags,
  }).flat(),
];

const controller = (flags: Readonly<Record<string, string>>): string[] => [
  'controller',
  ...Object.entries({ '--kubeconfig': sharedKubeconfig(), '--metrics-port': '0', ...flags }).flat(),
];

const up = (flags: Readonly<Record<string, string>> = {}): string[] => [
  'up',
  ...Object.entries({ '--data-dir': scratch.path('data'), ...flags }).flat(),
];

async function hostObject(name: string): Promise<unknown> {
  const lease = await client.resources(LEASES).get({ namespace: SYSTEM_NAMESPACE, name });
  return lease ?? (await client.resources<Host>(LINUX_HOSTS).get({ name }));
}

describe('a command line', () => {
  test.each([
    [['frobnicate'], "shoes-vz: unknown command 'frobnicate' (see shoes-vz --help)"],
    [['up', '--frobnicate'], "shoes-vz: unknown option '--frobnicate' (see shoes-vz up --help)"],
    [
      ['node-daemon', '--max-runners', 'many'],
      "shoes-vz: option '--max-runners <n>' argument 'many' is invalid. It has to be an integer from 0 to 1000. (see shoes-vz node-daemon --help)",
    ],
    [
      ['node-daemon', '--host-name', 'Not_DNS'],
      'shoes-vz: option \'--host-name <name>\' argument \'Not_DNS\' is invalid. It must be a DNS name of lower-case letters, digits, "-" and ".", and "Not_DNS" is not. (see shoes-vz node-daemon --help)',
    ],
    [
      ['template', 'build', 'linux', '--name', '../x'],
      'shoes-vz: option \'--name <name>\' argument \'../x\' is invalid. It must be a name of lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit, e.g. linux-small. (see shoes-vz template build linux --help)',
    ],
  ])('%j is refused with exit code 2', async (args, line) => {
    expect(await refusal(scratch, args, { code: 2 })).toBe(line);
  });

  test('is refused for an environment variable, by its name', async () => {
    const env = { SHOESVZ_METRICS_PORT: '-1' };
    expect(await refusal(scratch, ['controller'], { env, code: 2 })).toBe(
      "shoes-vz: option '--metrics-port <port>' value '-1' from env 'SHOESVZ_METRICS_PORT' is invalid. It has to be an integer from 0 to 65535. (see shoes-vz controller --help)",
    );
  });

  test('counts an empty environment variable for none', async () => {
    const { code, stderr } = await runCommand(['version'], { SHOESVZ_API_PORT: '' });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const line = await refusal(scratch, ['node-daemon'], {
      env: { SHOESVZ_METRICS_PORT: '', HOME: '/none' },
    });
    expect(line).toMatch(/no kubeconfig found: give its path, set KUBECONFIG, or put one at/);
  });
});

describe('a kubeconfig', () => {
  /** Each is told to both commands that read one. */
  const both = async (path: string, expected: RegExp, flags: Record<string, string> = {}): Promise<void> => {
    for (const call of [controller, daemon]) {
      expect(await refusal(scratch, call({ '--kubeconfig': path, ...flags }))).toMatch(expected);
    }
  };

  test('that is not there', () =>
    both(scratch.path('none'), /^shoes-vz: kubeconfig \S+\/none does not exist$/));

  test('that is a directory', async () =>
    both(await scratch.directory('d'), /^shoes-vz: kubeconfig \S+\/d cannot be read \(EISDIR\)$/));

  test('that is no YAML', async () => {
    const path = await scratch.file('k', 'apiVersion: v1\nusers: [\n  token: s3cret\n');
    await both(path, /^shoes-vz: kubeconfig \S+\/k is not valid YAML: line \d+, column \d+$/);
  });

  test('that is something else', async () => {
    const path = await scratch.file('k', 'apiVersion: v1\nkind: Secret\n');
    await both(path, /^shoes-vz: kubeconfig \S+\/k is not a kubeconfig: expected a document of kind Config$/);
  });

  test('without the context', () =>
    both(sharedKubeconfig(), /^shoes-vz: kubeconfig \S+: no context "elsewhere" \(there are: shoes-vz\)$/, {
      '--context': 'elsewhere',
    }));

  test('whose context names no cluster', async () => {
    const path = await scratch.kubeconfig(kubeconfig, (config) => {
      only(config.contexts).context.cluster = 'gone';
    });
    await both(path, /context "shoes-vz" names cluster "gone", which is missing$/);
  });

  test('whose server cannot be reached', async () => {
    const path = await scratch.kubeconfig(kubeconfig, (config) => {
      only(config.clusters).cluster.server = 'https://127.0.0.1:1';
    });
    await both(
      path,
      /^shoes-vz: cannot reach the API server at https:\/\/127\.0\.0\.1:1: connection refused$/,
    );
  });

  test('of another cluster', async () => {
    const other = await clientCertificate({});
    const path = await scratch.kubeconfig(kubeconfig, (config) => {
      const authority = Buffer.from(other.certificate).toString('base64');
      only(config.clusters).cluster['certificate-authority-data'] = authority;
    });
    await both(path, /^shoes-vz: cannot reach the API server at \S+: .*certificate/);
  });

  test('whose client certificate has expired', async () => {
    const expired = await clientCertificate({ notAfter: new Date('2020-01-02T03:04:05Z') });
    const path = await scratch.kubeconfig(kubeconfig, ({ users }) => {
      only(users).user = {
        'client-certificate-data': Buffer.from(expired.certificate).toString('base64'),
        'client-key-data': Buffer.from(expired.key).toString('base64'),
      };
    });
    await both(path, /the client certificate of context "shoes-vz" expired at 2020-01-02T03:04:05\.000Z$/);
  });

  test('whose credentials the server does not know', async () => {
    const path = await scratch.kubeconfig(kubeconfig, ({ users }) => {
      only(users).user = { token: 'expired-t0ken' };
    });
    await both(path, /does not accept the credentials \(401\): they may have expired; renew the kubeconfig$/);
  });

  test('whose user has no rights', async () => {
    const path = await scratch.kubeconfig(kubeconfig, ({ users }) => {
      only(users).user.as = 'nobody-special';
    });
    await both(
      path,
      /^shoes-vz: the API server at \S+ forbids what the (controller|node daemon) needs: .*"nobody-special" cannot list .*; bind its user to the ClusterRole in deploy\/rbac\/(controller|node-daemon)\.yaml$/,
    );
  });
});

describe('an API server', () => {
  let dataDir: Scratch;
  let bare: ControlPlane;
  let admin: KubeClient;
  beforeAll(async () => {
    dataDir = await Scratch.create();
    bare = await startControlPlane({ dataDir: dataDir.dir, unsafeNoFsync: true, log: () => undefined });
    admin = loadKubeClient({ kubeconfigPath: bare.kubeconfigPath, userAgent: 'shoes-vz-test/0' });
  });
  afterAll(async () => {
    await admin.close();
    await bare.stop();
    await dataDir.close();
  });

  test('without our kinds', async () => {
    const flags = { '--kubeconfig': bare.kubeconfigPath };
    expect(await refusal(scratch, controller(flags))).toMatch(
      /does not serve shoesvz\.dev\/v1alpha1: install the CRDs of this version of shoes-vz \(crds\/generated\)$/,
    );
    expect(await refusal(scratch, daemon(flags))).toMatch(
      /^shoes-vz: the API server does not serve runners\.shoesvz\.dev\/v1alpha1: is its CRD installed\?$/,
    );
  });

  test('with our kinds of another version', async () => {
    await installCrds(admin);
    const names = (await admin.resources(CRDS).list()).items.map(({ metadata }) => metadata.name);
    for (const name of names) await inOtherVersion(admin, name);
    const flags = { '--kubeconfig': bare.kubeconfigPath };
    expect(await refusal(scratch, controller(flags))).toMatch(
      /serves shoesvz\.dev\/v1beta9, and this controller needs shoesvz\.dev\/v1alpha1: install the CRDs/,
    );
    expect(await refusal(scratch, daemon(flags))).toMatch(
      /does not serve runners\.shoesvz\.dev\/v1alpha1: is its CRD installed\?$/,
    );
    // `up` on such data: what the other version stores is not touched.
    await bare.stop();
    expect(await refusal(scratch, up({ '--data-dir': dataDir.dir }))).toMatch(
      /^shoes-vz: CRD \w+\.shoesvz\.dev on the API server has version v1beta9, while this shoes-vz knows v1alpha1; use the shoes-vz that installed it/,
    );
  });
});

interface Crd extends KubeObject {
  kind: 'CustomResourceDefinition';
  spec: { versions: { name: string }[] };
}

const CRDS: ResourceType<Crd> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

/** As if another shoes-vz had installed it. */
async function inOtherVersion(admin: KubeClient, name: string): Promise<void> {
  const crds = admin.resources(CRDS);
  const found = await crds.get({ name });
  if (found === undefined) throw new Error(`no CRD ${name}`);
  await crds.delete({ name });
  await until(`${name} to go`, async () => (await crds.get({ name })) === undefined);
  const versions = found.spec.versions.map((version) => ({ ...version, name: 'v1beta9' }));
  await crds.create({
    apiVersion: found.apiVersion,
    kind: 'CustomResourceDefinition',
    metadata: { name },
    spec: { ...found.spec, versions },
  });
  const served = async (): Promise<boolean> =>
    await admin.raw(`/apis/shoesvz.dev/v1beta9/${name.split('.')[0]}`).then(
      () => true,
      () => false,
    );
  await until(`${name} to be served`, served);
}

describe('a host root', () => {
  const refused = async (root: string, expected: RegExp): Promise<void> => {
    for (const call of [daemon, up]) {
      expect(await refusal(scratch, call({ '--host-root': root }))).toMatch(expected);
    }
    expect(await hostObject('refused')).toBeUndefined();
  };

  test('that is a file', async () =>
    refused(
      await scratch.file('f'),
      /^shoes-vz: --host-root: host root \S+\/f must be a directory \(E\w+\)$/,
    ));

  test('in a directory that is a file', async () => {
    const file = await scratch.file('f');
    await refused(
      join(file, 'root'),
      /^shoes-vz: --host-root: host root \S+\/f\/root must be a directory \(ENOTDIR\)$/,
    );
  });

  test('that is too long for sockets', () =>
    refused(
      scratch.path('deep', 'r'.repeat(60)),
      /^shoes-vz: --host-root: host root \S+ has \d+ bytes; it must have 34 or fewer, or the paths of VM sockets exceed 103 bytes$/,
    ));

  test('that nobody may write to', () =>
    refused(
      '/sys/shoes-vz',
      /^shoes-vz: --host-root: host root \/sys\/shoes-vz must be writable for the user that runs the node daemon \(E\w+\)$/,
    ));

  test('on a read-only volume', async (context) => {
    const volume = await scratch.smallVolume('ro', 'ro');
    if (volume === undefined) return context.skip('may not mount');
    await refused(join(volume, 'root'), /must be writable for the user that runs the node daemon \(EROFS\)$/);
  });

  test('without room', async (context) => {
    const volume = await scratch.smallVolume('v', 'size=16m');
    if (volume === undefined) return context.skip('may not mount');
    const root = join(volume, 'root');
    await refused(root, /^shoes-vz: --host-root: host root \S+ has 1\d MiB free; VMs need 1024 MiB or more$/);
    const build = ['template', 'build', 'linux', '--host-root', root];
    expect(await refusal(scratch, build)).toMatch(/has 0\.0 GiB free; building a template needs 1\.5 GiB$/);
  });

  test('that another daemon serves', async () => {
    const root = await openHostRoot(await scratch.directory('root'));
    scratch.onClose(() => root.release());
    expect(await refusal(scratch, daemon({}))).toBe(
      `shoes-vz: ${root.path}: another node daemon with pid ${process.pid} serves this host root; stop it, or give this one a root of its own`,
    );
    expect(await refusal(scratch, up({ '--host-root': root.path }))).toMatch(
      /another node daemon with pid \d+ serves this host root/,
    );
  });

  test('whose identity is damaged', async () => {
    for (const directory of ['root', 'root/templates', 'root/runners']) await scratch.directory(directory);
    await scratch.file('root/machine.json', '{}');
    await scratch.file('root/daemon.lock');
    expect(await refusal(scratch, daemon({}))).toMatch(
      /^shoes-vz: \S+\/machine\.json: not a machine's identity .*; restore it, or remove the file to make this a new machine$/,
    );
  });
});

describe('a host name', () => {
  const hostNamed = (kind: Host['kind'], name: string): Host => ({
    apiVersion: API_VERSION,
    kind,
    metadata: { name, finalizers: [HOST_FINALIZER] },
    spec: {},
  });

  test('of a host of the other kind', async () => {
    const name = uniqueName('host');
    await client.resources<Host>(MAC_HOSTS).create(hostNamed('MacHost', name));
    expect(await refusal(scratch, daemon({ '--host-name': name }))).toBe(
      `shoes-vz: the host name "${name}" is taken: there is a MacHost of that name; give this host another name, or if it is not needed any more, delete the MacHost`,
    );
    expect(await hostObject(name)).toBeUndefined();
  });

  test('that another machine holds', async () => {
    const name = uniqueName('host');
    const other = await Scratch.create();
    const holder = new Command([
      ...daemon({ '--host-name': name, '--host-root': other.path('r'), '--state-file': other.path('s') }),
    ]);
    try {
      await holder.says(/"msg":"ready"/);
      const { machineID } = JSON.parse(await readFile(other.path('r', 'machine.json'), 'utf8'));
      expect(await refusal(scratch, daemon({ '--host-name': name }))).toBe(
        `shoes-vz: the host name "${name}" is taken: the LinuxHost of that name belongs to machine ${machineID} with host root ${other.path('r')}; give this host another name, or if that is gone for good, delete the LinuxHost, which declares its VMs dead`,
      );
    } finally {
      holder.signal('SIGTERM');
      await holder.ended;
      await other.close();
    }
  });
});

describe('a port that is taken', () => {
  test('by another program: guest link and metrics', async () => {
    const port = String(await scratch.takenPort());
    const where = `port ${port} of 127.0.0.1 is taken by another program; choose another`;
    expect(await refusal(scratch, daemon({ '--guest-link-port': port }))).toBe(
      `shoes-vz: --guest-link-port: ${where}`,
    );
    expect(await refusal(scratch, daemon({ '--metrics-port': port }))).toBe(
      `shoes-vz: --metrics-port: ${where}`,
    );
    expect(await refusal(scratch, controller({ '--metrics-port': port }))).toBe(
      `shoes-vz: --metrics-port: ${where}`,
    );
    expect(await hostObject('refused')).toBeUndefined();
  });

  test('of an address that is not of this machine', async () => {
    const flags = { '--metrics-port': '8083', '--metrics-address': '192.0.2.1' };
    for (const call of [daemon, controller]) {
      expect(await refusal(scratch, call(flags))).toBe(
        'shoes-vz: --metrics-port: 192.0.2.1 is no address of this machine; 127.0.0.1 always is',
      );
    }
  });

  test.each(['--guest-link-port', '--metrics-port', '--daemon-metrics-port'])('for up: %s', async (flag) => {
    const port = await scratch.takenPort();
    expect(await refusal(scratch, up({ [flag]: String(port) }))).toBe(
      `shoes-vz: ${flag}: port ${port} of 127.0.0.1 is taken by another program; choose another`,
    );
  });

  test('for up: --api-port', async () => {
    const address = await defaultBindAddress();
    const port = await scratch.takenPort(address);
    expect(await refusal(scratch, up({ '--api-port': String(port) }))).toBe(
      `shoes-vz: --api-port: ${port} on ${address} is used by another process; choose another, or none for any free one`,
    );
  });
});

describe('a data directory', () => {
  test('that is a file', async () => {
    const file = await scratch.file('f');
    expect(await refusal(scratch, up({ '--data-dir': file }))).toMatch(
      /^shoes-vz: --data-dir: \S+\/f cannot be used \(EEXIST: .*\); choose a directory that you may write to$/,
    );
  });

  test('that nobody may write to', async () => {
    expect(await refusal(scratch, up({ '--data-dir': '/sys/shoes-vz' }))).toMatch(
      /^shoes-vz: --data-dir: \/sys\/shoes-vz cannot be used \(E.*\); choose a directory that you may write to$/,
    );
  });

  test('that another up uses', async () => {
    await scratch.directory('data');
    for (const directory of ['etcd', 'logs', 'host/templates', 'host/runners']) {
      await scratch.directory(join('data', directory));
    }
    await scratch.file('data/logs/shoes-vz.log');
    const lock = await tryLock(scratch.path('data', 'lock'));
    if (!('release' in lock)) throw new Error('the lock is held');
    scratch.onClose(async () => lock.release());
    expect(await refusal(scratch, up())).toBe(
      `shoes-vz: --data-dir: ${scratch.path('data')} is in use by process ${process.pid}; stop that one, or choose another directory`,
    );
  });

  test('that was never used, for down', async () => {
    expect(await refusal(scratch, ['down', '--data-dir', scratch.path('data')])).toBe(
      `shoes-vz: --data-dir: there is no system in ${scratch.path('data')}; name the directory that was given to up`,
    );
  });

  test('that an up is just starting in, for down', async () => {
    await scratch.directory('data');
    await scratch.file('data/kubeconfig');
    const lock = await tryLock(scratch.path('data', 'lock'));
    if (!('release' in lock)) throw new Error('the lock is held');
    scratch.onClose(async () => lock.release());
    expect(await refusal(scratch, ['down', '--data-dir', scratch.path('data')])).toBe(
      `shoes-vz: --data-dir: ${scratch.path('data')} belongs to an up that is just starting; try again`,
    );
  });

  test('whose note of the last up is damaged', async () => {
    await scratch.directory('data');
    await scratch.file('data/up.json', '{"hostRoot":');
    expect(await refusal(scratch, up())).toMatch(
      /^shoes-vz: \S+\/up\.json is damaged; remove it, and run up with the --host-root and --host-name of last time$/,
    );
  });

  test('whose last up left VMs with another host', async () => {
    const root = await scratch.directory('data/host');
    await scratch.directory('data/host/runners/7c9e6679-7425-40de-944b-e07fc1f90ae7.1.bundle');
    for (const directory of ['etcd', 'logs']) await scratch.directory(join('data', directory));
    await scratch.file('data/up.json', JSON.stringify({ hostRoot: root, hostName: 'one' }));
    const told = `there are VMs of the last up, whose host is one in ${root}; leave out the flag, or run down first`;
    expect(await refusal(scratch, up({ '--host-name': 'two' }))).toBe(`shoes-vz: --host-name: ${told}`);
    expect(await refusal(scratch, up({ '--host-root': scratch.path('other') }))).toBe(
      `shoes-vz: --host-root: ${told}`,
    );
  });
});

describe('templates', () => {
  const list = (root: string) => runCommand(['template', 'list', '--host-root', root]);

  /** One bundle that is whole, and one of each kind that is not. Returns the digest of the whole one. */
  async function place(root: string): Promise<string> {
    const digest = await placeTemplate(root, 'whole');
    const templates = join(root, 'templates');
    await placeTemplate(root, 'corrupt');
    await writeFile(join(templates, 'corrupt', 'Disk.img'), 'disk of cOrrupt');
    await placeTemplate(root, 'missing');
    await rm(join(templates, 'missing', 'Disk.img'));
    await placeTemplate(root, 'short');
    await writeFile(join(templates, 'short', 'Disk.img'), 'disk');
    await placeTemplate(root, 'other');
    await rename(join(templates, 'other'), join(templates, 'misnamed'));
    await mkdir(join(templates, 'empty'));
    await mkdir(join(templates, '.half-built'));
    await writeFile(join(templates, 'notes.txt'), 'no template');
    return digest;
  }

  const again = 'build or copy the template again';
  /** By name, in the order of the listing. */
  const PROBLEMS = {
    corrupt: `template corrupt: Disk.img: is corrupt: its digest is not the one in TemplateMetadata.json; ${again}`,
    empty: `template empty: TemplateMetadata.json: is missing; ${again}`,
    misnamed:
      'template misnamed: TemplateMetadata.json: name is "other", but the directory is "misnamed"; rename one of them',
    missing: `template missing: Disk.img: is missing; ${again}`,
    short: `template short: Disk.img: has 4 bytes instead of 13; ${again}`,
  };

  test('that are broken are named by template list, which fails', async () => {
    const root = await scratch.directory('root');
    const digest = await place(root);
    const before = await scratch.tree();
    const { code, stdout, stderr } = await list(root);
    expect(stdout.trimEnd().split('\n')).toEqual([
      ...Object.entries(PROBLEMS).map(([name, problem]) => `${name}\tbroken: ${problem}`),
      `whole\tlinux\tamd64\tagent\t${digest}`,
    ]);
    expect(stderr).toBe(`shoes-vz: 5 of 6 templates in ${root}/templates are broken\n`);
    expect(code).toBe(1);
    expect(await scratch.tree()).toEqual(before);
  });

  test('that are broken do not keep the daemon from serving the others; its host says what is wrong', async () => {
    const root = await scratch.directory('root');
    const digest = await place(root);
    const name = uniqueName('host');
    const command = new Command(daemon({ '--host-name': name, '--host-root': root }));
    scratch.onClose(() => command.kill());
    await command.says(/"msg":"ready"/);
    let host: Host | undefined;
    await until(
      'the host to tell of its templates',
      async () => {
        host = await client.resources<Host>(LINUX_HOSTS).get({ name });
        const told = healthOf(host)?.message ?? '';
        return Object.values(PROBLEMS).every((problem) => told.includes(problem));
      },
      () => JSON.stringify(host?.status),
    );
    expect(host?.status?.templates).toEqual([{ name: 'whole', digest, os: 'linux', arch: 'amd64' }]);
    expect(healthOf(host)).toMatchObject({ status: 'False' });
    command.signal('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 0, signal: null });
  });

  test('are all well: template list succeeds', async () => {
    const root = await scratch.directory('root');
    const digest = await placeTemplate(root, 'whole');
    expect(await list(root)).toEqual({
      code: 0,
      signal: null,
      stdout: `whole\tlinux\tamd64\tagent\t${digest}\n`,
      stderr: '',
    });
  });

  test('of a host root that is not there', async () => {
    expect(await refusal(scratch, ['template', 'list', '--host-root', scratch.path('none')])).toBe(
      `shoes-vz: --host-root: the directory ${scratch.path('none', 'templates')} is not there; template build makes it, and the node daemon does`,
    );
  });
});

const healthOf = (host: Host | undefined) =>
  host?.status?.conditions?.find(({ type }) => type === 'TemplatesHealthy');

describe('doctor', () => {
  const doctor = (root: string, ...flags: string[]): string[] => [
    'doctor',
    '--host-root',
    root,
    '--guest-link-port',
    '0',
    '--metrics-port',
    '0',
    ...flags,
  ];

  test('judges a host root that is not there yet, and leaves none', async () => {
    const { stdout } = await runCommand(doctor(scratch.path('a', 'root')));
    expect(stdout).toMatch(/^ok {3}host root +\S+\/a\/root is not there yet, and can be made$/m);
    expect(stdout).toMatch(/^(ok|warn) +room +\d+ GiB free/m);
    expect(stdout).toMatch(/^(ok|warn) +reflink/m);
    expect(stdout).toMatch(/^(ok|warn) +accelerator +(kvm|tcg)/m);
    expect(await scratch.tree()).toEqual([]);
  });

  test('says which packages are missing', async () => {
    const { code, stdout } = await runCommand(doctor(scratch.path('root')), { PATH: '/nonexistent' });
    expect(stdout).toMatch(
      /^fail packages +install .*qemu-system-\w+ qemu-utils.* \(apt-get install, as root\)$/m,
    );
    expect(stdout).toMatch(
      /^fail driver +qemu-\S+ is not installed: install qemu-system-\w+ and qemu-utils$/m,
    );
    expect(code).toBe(1);
  });

  test('names what is wrong, and ends with exit code 1', async () => {
    const file = await scratch.file('f');
    const port = await scratch.takenPort();
    const ended = await runCommand(doctor(file, '--guest-link-port', String(port)));
    expect(ended.stdout).toMatch(/^fail host root +host root \S+\/f must be a directory \(E\w+\)$/m);
    expect(ended.stdout).toContain(
      `fail port          --guest-link-port: port ${port} of 127.0.0.1 is taken by another program; choose another\n`,
    );
    expect(ended.stderr).toBe('shoes-vz: this machine cannot run VMs yet: see host root, port\n');
    expect(ended.code).toBe(1);
  });
});
