import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HostStatus, type HostTemplate } from '../../crds/host.ts';
import { decideStatus, type HostFacts, MOST_TEMPLATES } from './decide.ts';

const GIB = 2 ** 30;
const NOW = Date.parse('2026-01-01T00:00:00Z');
const LATER = NOW + 60_000;

const debian: HostTemplate = {
  name: 'debian',
  digest: `sha256:${'0'.repeat(64)}`,
  os: 'linux',
  arch: 'amd64',
};

const good: HostFacts = {
  machine: {
    os: 'linux',
    osVersion: 'Debian GNU/Linux 12 (bookworm)',
    arch: 'amd64',
    cpus: 8,
    memoryBytes: 32 * GIB,
    diskBytes: 500 * GIB,
  },
  machineId: '3f2b8c1e-0000-4000-8000-000000000001',
  root: '/opt/myshoes/vz',
  driver: 'qemu',
  daemonVersion: '0.1.0',
  generation: 3,
  spec: {},
  probe: { state: 'works', capabilities: { version: '7.2.0', accelerator: 'kvm', reflink: true } },
  templates: [debian],
  problems: new Map(),
  room: { enough: true, neededBytes: 4 * GIB },
  life: 'live',
};

const condition = (status: HostStatus, type: string) => status.conditions?.find((each) => each.type === type);

test('the first status of a good host', () => {
  expect(decideStatus(good, { observedGeneration: -1 }, NOW)).toEqual({
    observedGeneration: 3,
    capacity: { cpu: 8, memory: '32Gi', disk: '500Gi', runners: 32 },
    allocatable: { cpu: 32, memory: '31129Mi', disk: '480Gi', runners: 32 },
    nodeInfo: {
      os: 'linux',
      osVersion: 'Debian GNU/Linux 12 (bookworm)',
      arch: 'amd64',
      driver: 'qemu',
      driverVersion: '7.2.0',
      accelerator: 'kvm',
      reflink: true,
      daemonVersion: '0.1.0',
      machineID: '3f2b8c1e-0000-4000-8000-000000000001',
      hostRoot: '/opt/myshoes/vz',
    },
    templates: [debian],
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'DaemonReady',
        message: 'VMs run under qemu 7.2.0 with kvm',
        observedGeneration: 3,
        lastTransitionTime: '2026-01-01T00:00:00.000Z',
      },
      {
        type: 'TemplatesHealthy',
        status: 'True',
        reason: 'Verified',
        message: 'all digests are right',
        observedGeneration: 3,
        lastTransitionTime: '2026-01-01T00:00:00.000Z',
      },
    ],
  });
});

const failed = { probe: { state: 'failed', message: 'qemu-system-x86_64 is not installed' } } as const;
const noRoom = { room: { enough: false, neededBytes: 4 * GIB } };

test.each<[string, Partial<HostFacts>, string, string, RegExp]>([
  ['good', {}, 'True', 'DaemonReady', /qemu 7\.2\.0 with kvm/],
  ['cordoned', { spec: { unschedulable: true } }, 'True', 'DaemonReady', /qemu/],
  ['probing', { probe: { state: 'running' } }, 'Unknown', 'Probing', /trying how the driver qemu/],
  ['without a hypervisor', failed, 'False', 'DriverUnavailable', /^qemu-system-x86_64 is not installed$/],
  ['without room', noRoom, 'False', 'DiskPressure', /no VM is started before 4Gi are free/],
  ['without either', { ...failed, ...noRoom }, 'False', 'DriverUnavailable', /not installed/],
  [
    'in need of a reboot',
    { ...noRoom, needsReboot: 'slots leaked' },
    'False',
    'NeedsReboot',
    /slots leaked$/,
  ],
  ['stopping', { ...failed, life: 'stopping' }, 'False', 'DaemonStopped', /go on/],
  ['deleting', { ...noRoom, life: 'deleting' }, 'False', 'Deleting', /destroyed first/],
])('a host that is %s', (_, facts, status, reason, message) => {
  const ready = condition(decideStatus({ ...good, ...facts }, undefined, NOW), 'Ready');
  expect(ready).toMatchObject({ status, reason, message: expect.stringMatching(message) });
});

test('a reboot that is needed has a condition of its own, and no other host has it', () => {
  expect(condition(decideStatus(good, undefined, NOW), 'NeedsReboot')).toBeUndefined();
  const leaked = decideStatus({ ...good, needsReboot: 'slots leaked' }, undefined, NOW);
  expect(condition(leaked, 'NeedsReboot')).toMatchObject({
    status: 'True',
    reason: 'VmLimit',
    message: 'slots leaked',
  });
  expect(condition(decideStatus(good, leaked, LATER), 'NeedsReboot')).toBeUndefined();
});

test.each<[string, Partial<HostFacts>, string, string, RegExp]>([
  ['none', { templates: [] }, 'True', 'NoTemplates', /no template in \/opt\/myshoes\/vz\/templates yet/],
  ['good ones', {}, 'True', 'Verified', /digests/],
  [
    'broken ones',
    {
      problems: new Map([
        ['a', 'template a: Disk.img: is missing'],
        ['b', 'template b: kernel: is corrupt'],
      ]),
    },
    'False',
    'TemplateBroken',
    /^template a: Disk\.img: is missing; template b: kernel: is corrupt$/,
  ],
  [
    'too many',
    { templates: Array.from({ length: MOST_TEMPLATES + 2 }, () => debian) },
    'False',
    'TemplateBroken',
    /^2 templates are not offered: a host offers at most 256$/,
  ],
])('templates: %s', (_, facts, status, reason, message) => {
  const decided = decideStatus({ ...good, ...facts }, undefined, NOW);
  expect(condition(decided, 'TemplatesHealthy')).toMatchObject({
    status,
    reason,
    message: expect.stringMatching(message),
  });
  expect(decided.templates?.length).toBeLessThanOrEqual(MOST_TEMPLATES);
});

test('while the driver is tried, what an earlier daemon found stands; another driver knows nothing', () => {
  const before = decideStatus(good, undefined, NOW);
  const probing = { ...good, probe: { state: 'running' } } as const;
  expect(decideStatus(probing, before, LATER).nodeInfo).toEqual(before.nodeInfo);
  expect(decideStatus({ ...probing, driver: 'fake' }, before, LATER).nodeInfo).toMatchObject({
    driver: 'fake',
    driverVersion: 'unknown',
    accelerator: 'unknown',
    reflink: false,
  });
});

test("the controller's verdict on a daemon that was gone is taken back, with a new time", () => {
  const before = decideStatus(good, undefined, NOW);
  const [ready, ...others] = before.conditions ?? [];
  if (ready === undefined) throw new Error('no Ready');
  const lost = {
    ...before,
    conditions: [{ ...ready, status: 'Unknown' as const, reason: 'HostLost' }, ...others],
  };
  const back = decideStatus(good, lost, LATER);
  expect(condition(back, 'Ready')).toMatchObject({
    status: 'True',
    lastTransitionTime: new Date(LATER).toISOString(),
  });
  expect(condition(back, 'TemplatesHealthy')).toEqual(condition(before, 'TemplatesHealthy'));
});

const anyText = fc.string({ maxLength: 1500 });
const anyFacts: fc.Arbitrary<HostFacts> = fc.record({
  machine: fc.record({
    os: fc.constantFrom('linux' as const, 'macOS' as const),
    osVersion: fc.constantFrom('26.1', 'Debian'),
    arch: fc.constantFrom('arm64' as const, 'amd64' as const),
    cpus: fc.integer({ min: 1, max: 512 }),
    memoryBytes: fc.integer({ min: GIB, max: 2048 * GIB }),
    diskBytes: fc.integer({ min: GIB, max: 9999 * GIB }),
  }),
  machineId: fc.uuid(),
  root: fc.constant('/opt/myshoes/vz'),
  driver: fc.constantFrom('vz', 'qemu', 'fake'),
  daemonVersion: fc.constant('0.1.0'),
  generation: fc.integer({ min: 1, max: 9 }),
  spec: fc.record({ unschedulable: fc.boolean(), cpuOvercommit: fc.integer({ min: 1, max: 64 }) }),
  probe: fc.oneof(
    fc.constant({ state: 'running' } as const),
    fc.record({ state: fc.constant('failed' as const), message: anyText }),
    fc.record({
      state: fc.constant('works' as const),
      capabilities: fc.record({ version: anyText, accelerator: anyText, reflink: fc.boolean() }),
    }),
  ),
  templates: fc.array(fc.constant(debian), { maxLength: 300 }),
  problems: fc
    .array(fc.tuple(fc.string({ maxLength: 40 }), anyText), { maxLength: 4 })
    .map((list) => new Map(list)),
  room: fc.record({ enough: fc.boolean(), neededBytes: fc.integer({ min: 0, max: 4 * GIB }) }),
  life: fc.constantFrom('live', 'deleting', 'stopping'),
});

test('whatever the facts: a valid status, and the same one again when nothing changed', () => {
  fc.assert(
    fc.property(anyFacts, anyFacts, (earlier, facts) => {
      const before = decideStatus(earlier, { observedGeneration: -1 }, NOW);
      const status = decideStatus(facts, before, LATER);
      expect(HostStatus.safeParse(status).error?.issues).toBeUndefined();
      expect(decideStatus(facts, status, LATER + 1)).toEqual(status);
      const other = { ...before, conditions: [{ ...status.conditions?.[0], type: 'Other' }] } as HostStatus;
      expect(condition(decideStatus(facts, other, LATER), 'Other')).toEqual(other.conditions?.[0]);
    }),
  );
});
