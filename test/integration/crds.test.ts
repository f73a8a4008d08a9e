import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from '../../crds/host.ts';
import { HOST_RESOURCES, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { linuxHost, macHost } from '../builders/host.ts';
import { binding, runner } from '../builders/runner.ts';
import { defaultRunnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { testClient, testNamespace, uniqueName } from '../harness/control-plane.ts';
import { BAD_MANIFESTS } from './crds-bad-manifests.ts';
import { type Kubectl, openKubectl } from './crds-kubectl.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

let client: KubeClient;
let kubectl: Kubectl;
let namespace: string;

beforeAll(async () => {
  client = testClient();
  kubectl = await openKubectl();
  namespace = await testNamespace(client);
});

afterAll(async () => {
  await kubectl?.close();
  await client?.close();
});

describe('a bad manifest is refused with the field and what would be right', () => {
  test('at least forty ways to get one wrong are tried', () => {
    expect(new Set(BAD_MANIFESTS.map(({ mistake }) => mistake)).size).toBeGreaterThanOrEqual(40);
  });

  test.each(BAD_MANIFESTS)('$mistake', async ({ manifest, says }) => {
    const { exitCode, stderr } = await kubectl.run(['apply', '--namespace', namespace, '-f', '-'], manifest);
    expect(stderr).not.toContain('evaluation error');
    for (const part of says) expect(stderr).toContain(part);
    expect(exitCode).toBe(1);
  });
});

describe('examples/', () => {
  test('every manifest is accepted as it stands', async () => {
    const files = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.yaml'));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const { exitCode, stderr } = await kubectl.run([
        'create',
        '--dry-run=server',
        '-f',
        `${EXAMPLES}${file}`,
      ]);
      expect({ file, exitCode, stderr }).toEqual({ file, exitCode: 0, stderr: '' });
    }
  });
});

describe('defaults', () => {
  test('a new Runner is Pending and of no generation', async () => {
    const name = uniqueName('runner');
    const manifest = `{apiVersion: shoesvz.dev/v1alpha1, kind: Runner, metadata: {name: ${name}}, spec: {templateName: linux}}`;
    await kubectl.ok(['create', '--namespace', namespace, '-f', '-'], manifest);
    const created = await client.resources<Runner>(RUNNERS).get({ namespace, name });
    expect(created?.spec).toEqual({ templateName: 'linux', completion: 'Job', startAttempts: 3 });
    expect(created?.status).toEqual({ observedGeneration: -1, phase: 'Pending' });
  });

  test('a Template logs in as runner on port 22 and has an agent on port 8080', async () => {
    const name = uniqueName('template');
    const spec = '{os: linux, arch: amd64, ssh: {}, source: {bundle: {name: linux}}}';
    const manifest = `{apiVersion: shoesvz.dev/v1alpha1, kind: Template, metadata: {name: ${name}}, spec: ${spec}}`;
    await kubectl.ok(['create', '-f', '-'], manifest);
    const created = await client.resources<Template>(TEMPLATES).get({ name });
    expect(created?.spec).toMatchObject({
      ssh: { user: 'runner', port: 22 },
      guestAgent: { enabled: true, port: 8080 },
    });
    expect(created?.status).toEqual({ observedGeneration: -1 });
  });

  test.each(['MacHost', 'LinuxHost'] as const)('a %s needs no spec', async (kind) => {
    const name = uniqueName('host');
    await kubectl.ok(
      ['create', '-f', '-'],
      `{apiVersion: shoesvz.dev/v1alpha1, kind: ${kind}, metadata: {name: ${name}}}`,
    );
    const created = await client.resources<Host>(HOST_RESOURCES[kind]).get({ name });
    expect(created).toMatchObject({ spec: {}, status: { observedGeneration: -1 } });
  });

  test('a status that a person writes into a new object does not count', async () => {
    const created = await client
      .resources<Runner>(RUNNERS)
      .create(runner({ metadata: { namespace }, status: { phase: 'Finished', scriptAttempt: 1 } }));
    const read = await client.resources<Runner>(RUNNERS).get({ namespace, name: created.metadata.name });
    expect(read?.status).toEqual({ observedGeneration: -1, phase: 'Pending' });
  });
});

describe('selectable fields', () => {
  test('Runners are selected by host and by phase', async () => {
    const place = await testNamespace(client);
    const runners = client.resources<Runner>(RUNNERS);
    const host = linuxHost();
    const waiting = await runners.create(runner({ metadata: { namespace: place } }));
    const bound = await runners.create(runner({ metadata: { namespace: place } }));
    const ref = { namespace: place, name: bound.metadata.name };
    const patched = await runners.patch(ref, bound.metadata.resourceVersion, {
      spec: { binding: binding(host) },
    });
    await runners.patchStatus(ref, patched.metadata.resourceVersion, { status: { phase: 'Booting' } });
    const selected = async (fieldSelector: string) =>
      (await runners.list({ namespace: place, fieldSelector })).items.map(({ metadata }) => metadata.name);
    expect(await selected(`spec.binding.hostName=${host.metadata.name}`)).toEqual([ref.name]);
    expect(await selected('status.phase=Booting')).toEqual([ref.name]);
    expect(await selected('status.phase=Pending')).toEqual([waiting.metadata.name]);
    expect(await selected('spec.binding.hostName=')).toEqual([waiting.metadata.name]);
  });
});

describe('kubectl get', () => {
  /** The table as one record per line, by the names of its columns. */
  const table = async (...args: string[]): Promise<Record<string, string>[]> => {
    const [head = '', ...lines] = (await kubectl.ok(['get', ...args])).trimEnd().split('\n');
    const columns = [...head.matchAll(/\S+(?: \S+)*\s*/g)].map((match) => ({
      name: match[0].trim(),
      from: match.index,
      to: match.index + match[0].length,
    }));
    const cell = (line: string, { from, to }: { from: number; to: number }): string =>
      line.slice(from, to === head.length ? undefined : to).trim();
    return lines.map((line) =>
      Object.fromEntries(columns.map((column) => [column.name, cell(line, column)])),
    );
  };

  test('shows of a Runner where it is and why', async () => {
    const place = await testNamespace(client);
    const runners = client.resources<Runner>(RUNNERS);
    const created = await runners.create(runner({ metadata: { namespace: place, name: 'one' } }));
    const ref = { namespace: place, name: 'one' };
    const bound = await runners.patch(ref, created.metadata.resourceVersion, {
      spec: { binding: binding(linuxHost({ metadata: { name: 'box-1' } })) },
    });
    await runners.patchStatus(ref, bound.metadata.resourceVersion, {
      status: {
        phase: 'Running',
        ipAddress: '10.0.2.15',
        ssh: { host: '127.0.0.1', port: 40022, user: 'runner', hostKey: 'ssh-ed25519 AAAA' },
        setup: { exitCode: 3 },
        conditions: [
          { ...readyCondition, type: 'Ready', reason: 'SetupFailed' },
          { ...readyCondition, type: 'Bound', status: 'True', message: 'bound to box-1' },
        ],
      },
    });
    const narrow = { NAME: 'one', PHASE: 'Running', HOST: 'box-1', TEMPLATE: 'linux', IP: '10.0.2.15' };
    expect(await table('runners', '-n', place)).toEqual([
      { ...narrow, AGE: expect.stringMatching(/^\d+s$/) },
    ]);
    expect(await table('rn', '-n', place, '-o', 'wide')).toEqual([
      {
        ...narrow,
        AGE: expect.any(String),
        CLASS: 'small',
        ATTEMPT: '1',
        'SSH HOST': '127.0.0.1',
        'SSH PORT': '40022',
        EXIT: '3',
        REASON: 'SetupFailed',
        BOUND: 'bound to box-1',
      },
    ]);
  });

  test.each([
    ['MacHost', macHost(), { OS: 'macOS', DRIVER: 'vz', ACCELERATOR: 'hvf', 'MAX RUNNERS': '2' }],
    ['LinuxHost', linuxHost(), { OS: 'linux', DRIVER: 'qemu', ACCELERATOR: 'tcg', 'MAX RUNNERS': '1000' }],
  ] as const)('shows of a %s what it is and has', async (kind, host, columns) => {
    const resource = HOST_RESOURCES[kind];
    const created = await client.resources<Host>(resource).create({ ...host, spec: { unschedulable: true } });
    const { name } = created.metadata;
    await client
      .resources<Host>(resource)
      .patchStatus({ name }, created.metadata.resourceVersion, { status: host.status });
    expect(await table(resource.plural, name)).toEqual([
      {
        NAME: name,
        READY: 'True',
        CORDONED: 'true',
        ...columns,
        CPU: String(host.status?.allocatable?.cpu),
        MEMORY: host.status?.allocatable?.memory,
        AGE: expect.any(String),
      },
    ]);
  });

  test('shows of a Template what it is and how many hosts have it', async () => {
    const name = uniqueName('template');
    const created = await client.resources<Template>(TEMPLATES).create(template({ metadata: { name } }));
    await client
      .resources<Template>(TEMPLATES)
      .patchStatus({ name }, created.metadata.resourceVersion, { status: template().status });
    expect(await table('vmt', name)).toEqual([
      { NAME: name, OS: 'linux', ARCH: 'amd64', HOSTS: '1', AGE: expect.any(String) },
    ]);
  });

  test('shows of a RunnerClass its sizes and whether it is the default', async () => {
    const name = uniqueName('class');
    await client.resources<RunnerClass>(RUNNER_CLASSES).create(defaultRunnerClass({ metadata: { name } }));
    expect(await table('rnc', name)).toEqual([
      { NAME: name, CPU: '2', MEMORY: '4Gi', DISK: '20Gi', DEFAULT: 'true', AGE: expect.any(String) },
    ]);
  });

  test('knows all kinds by one category', async () => {
    const kinds = await kubectl.ok(['api-resources', '--categories=shoesvz', '--no-headers', '-o', 'name']);
    expect(kinds.trim().split('\n').sort()).toEqual(
      ['linuxhosts', 'machosts', 'runnerclasses', 'runners', 'templates'].map(
        (plural) => `${plural}.shoesvz.dev`,
      ),
    );
  });
});

const readyCondition = {
  status: 'False',
  reason: 'Any',
  message: 'any',
  lastTransitionTime: '2026-01-01T00:00:00Z',
  observedGeneration: 1,
} as const;

describe('kubectl explain', () => {
  test('says units and defaults', async () => {
    const text = await kubectl.ok(['explain', 'runner.spec.timeouts']);
    expect(text.replaceAll(/\s+/g, ' ')).toContain(
      'as a duration such as 90s or 5m, up to 168h. Default: that of the Template, else 2m.',
    );
  });
});
