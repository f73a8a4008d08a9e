import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_MACOS_GUESTS } from '../../crds/host.ts';
import {
  type Amounts,
  type Bundle,
  type Candidate,
  type Demand,
  type HostFacts,
  type Misfit,
  misfit,
  NO_USAGE,
  type Placement,
  type PlacementPolicy,
  place,
  type Usage,
} from './place.ts';

const GiB = 2 ** 30;

const linuxHost = (over: Partial<HostFacts> = {}): HostFacts => ({
  kind: 'LinuxHost',
  name: 'linux-1',
  uid: 'uid-linux-1',
  labels: {},
  ready: true,
  cordoned: false,
  deleting: false,
  machine: { arch: 'amd64', driver: 'qemu' },
  bundles: new Map([['debian', { digest: 'sha256:d', os: 'linux', arch: 'amd64' }]]),
  allocatable: { cpu: 8, memoryBytes: 16 * GiB, diskBytes: 100 * GiB, runners: 3 },
  ...over,
});

const mac = (over: Partial<HostFacts> = {}): HostFacts => ({
  ...linuxHost(),
  kind: 'MacHost',
  name: 'mac-1',
  uid: 'uid-mac-1',
  machine: { arch: 'arm64', driver: 'vz' },
  bundles: new Map([
    ['macos', { digest: 'sha256:m', os: 'macOS', arch: 'arm64' }],
    ['debian', { digest: 'sha256:a', os: 'linux', arch: 'arm64' }],
  ]),
  allocatable: { cpu: 10, memoryBytes: 32 * GiB, diskBytes: 500 * GiB, runners: 4 },
  ...over,
});

const linuxDemand = (over: Partial<Demand> = {}): Demand => ({
  guest: { os: 'linux', arch: 'amd64' },
  bundle: { name: 'debian' },
  amounts: { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 10 * GiB },
  selector: {},
  ...over,
});

const macDemand = (over: Partial<Demand> = {}): Demand =>
  linuxDemand({ guest: { os: 'macOS', arch: 'arm64' }, bundle: { name: 'macos' }, ...over });

const used = (over: Partial<Usage> = {}): Usage => ({ ...NO_USAGE, ...over });

const hostOf = (placement: Placement): string =>
  'host' in placement ? placement.host.name : JSON.stringify([...placement.unplaceable]);

describe('what a host refuses', () => {
  const cases: [string, Misfit | undefined, Demand, HostFacts, Usage][] = [
    ['nothing', undefined, linuxDemand(), linuxHost(), NO_USAGE],
    ['being deleted', 'Deleting', linuxDemand(), linuxHost({ deleting: true }), NO_USAGE],
    ['being cordoned', 'Cordoned', linuxDemand(), linuxHost({ cordoned: true }), NO_USAGE],
    ['needing a reboot', 'NeedsReboot', linuxDemand(), linuxHost({ needsReboot: true }), NO_USAGE],
    [
      'needing a reboot, and so not being ready',
      'NeedsReboot',
      linuxDemand(),
      linuxHost({ needsReboot: true, ready: false }),
      NO_USAGE,
    ],
    ['not being ready', 'NotReady', linuxDemand(), linuxHost({ ready: false }), NO_USAGE],
    ['no report yet', 'NotReady', linuxDemand(), linuxHost({ machine: undefined }), NO_USAGE],
    ['no allocatable yet', 'NotReady', linuxDemand(), linuxHost({ allocatable: undefined }), NO_USAGE],
    [
      'another label',
      'SelectorMismatch',
      linuxDemand({ selector: { zone: 'a' } }),
      linuxHost({ labels: { zone: 'b' } }),
      NO_USAGE,
    ],
    [
      'a label that every object has',
      'SelectorMismatch',
      linuxDemand({ selector: { constructor: 'a' } }),
      linuxHost(),
      NO_USAGE,
    ],
    [
      'the right labels',
      undefined,
      linuxDemand({ selector: { zone: 'b' } }),
      linuxHost({ labels: { zone: 'b', rack: '1' } }),
      NO_USAGE,
    ],
    ['a macOS guest on Linux', 'UnfitMachine', macDemand(), linuxHost(), NO_USAGE],
    [
      'a macOS guest on a Mac without vz',
      'UnfitMachine',
      macDemand(),
      mac({ machine: { arch: 'arm64', driver: 'qemu' } }),
      NO_USAGE,
    ],
    ['another processor', 'UnfitMachine', linuxDemand(), mac(), NO_USAGE],
    [
      'a Linux guest on a Mac',
      undefined,
      linuxDemand({ guest: { os: 'linux', arch: 'arm64' } }),
      mac(),
      NO_USAGE,
    ],
    ['no template', 'WithoutTemplate', linuxDemand({ bundle: { name: 'other' } }), linuxHost(), NO_USAGE],
    [
      'another digest',
      'OtherBundle',
      linuxDemand({ bundle: { name: 'debian', digest: 'sha256:x' } }),
      linuxHost(),
      NO_USAGE,
    ],
    [
      'a bundle for another processor',
      'OtherBundle',
      linuxDemand(),
      linuxHost({ bundles: new Map([['debian', { digest: 'sha256:d', os: 'linux', arch: 'arm64' }]]) }),
      NO_USAGE,
    ],
    [
      'the pinned digest',
      undefined,
      linuxDemand({ bundle: { name: 'debian', digest: 'sha256:d' } }),
      linuxHost(),
      NO_USAGE,
    ],
    [
      'more than it has',
      'TooSmall',
      linuxDemand({ amounts: { cpu: 9, memoryBytes: GiB, diskBytes: GiB } }),
      linuxHost(),
      used({ runners: 3 }),
    ],
    ['a fourth of three', 'Full', linuxDemand(), linuxHost(), used({ runners: 3 })],
    [
      'any while maxRunners is 0',
      'Full',
      linuxDemand(),
      linuxHost({ allocatable: { ...total(), runners: 0 } }),
      NO_USAGE,
    ],
    ['a third macOS guest', 'Full', macDemand(), mac(), used({ runners: 2, macOSGuests: 2 })],
    [
      'a Linux guest beside two of macOS',
      undefined,
      linuxDemand({ guest: { os: 'linux', arch: 'arm64' } }),
      mac(),
      used({ runners: 2, macOSGuests: 2 }),
    ],
    ['CPUs that are taken', 'ShortOfCpu', linuxDemand(), linuxHost(), used({ runners: 1, cpu: 7 })],
    [
      'memory that is taken',
      'ShortOfMemory',
      linuxDemand(),
      linuxHost(),
      used({ runners: 1, memoryBytes: 12 * GiB + 1 }),
    ],
    ['the last byte', undefined, linuxDemand(), linuxHost(), used({ runners: 1, memoryBytes: 12 * GiB })],
    [
      'disk that is taken',
      'ShortOfDisk',
      linuxDemand(),
      linuxHost(),
      used({ runners: 1, diskBytes: 91 * GiB }),
    ],
  ];
  test.each(cases)('%s: %s', (_name, expected, demand, host, usage) => {
    expect(misfit(demand, host, usage)).toBe(expected);
  });
});

function total(): NonNullable<HostFacts['allocatable']> {
  return { cpu: 8, memoryBytes: 16 * GiB, diskBytes: 100 * GiB, runners: 3 };
}

describe('which host is chosen', () => {
  const busy = {
    host: linuxHost({ name: 'busy' }),
    used: used({ runners: 1, cpu: 2, memoryBytes: 4 * GiB }),
  };
  const idle = { host: linuxHost({ name: 'idle' }), used: NO_USAGE };

  test('spread takes the least taken, pack the most taken', () => {
    expect(hostOf(place(linuxDemand(), [busy, idle], 'spread'))).toBe('idle');
    expect(hostOf(place(linuxDemand(), [busy, idle], 'pack'))).toBe('busy');
  });

  test('equal hosts are taken by name', () => {
    const hosts = ['c', 'a', 'b'].map((name) => ({ host: linuxHost({ name }), used: NO_USAGE }));
    expect(hostOf(place(linuxDemand(), hosts, 'spread'))).toBe('a');
    expect(hostOf(place(linuxDemand(), hosts, 'pack'))).toBe('a');
  });

  test.each(['spread', 'pack'] as const)('%s keeps Macs for macOS guests as long as it can', (policy) => {
    const demand = linuxDemand({ guest: { os: 'linux', arch: 'arm64' } });
    const arm = linuxHost({
      name: 'z-linux',
      machine: { arch: 'arm64', driver: 'qemu' },
      bundles: mac().bundles,
    });
    const onMac = { host: mac(), used: NO_USAGE };
    expect(hostOf(place(demand, [onMac, { host: arm, used: used({ runners: 2 }) }], policy))).toBe('z-linux');
    expect(hostOf(place(demand, [onMac, { host: arm, used: used({ runners: 3 }) }], policy))).toBe('mac-1');
  });

  test('without hosts nothing is counted', () => {
    expect(place(linuxDemand(), [], 'spread')).toEqual({ unplaceable: new Map() });
  });
});

const amounts = (max: { cpu: number; gib: number }): fc.Arbitrary<Amounts> =>
  fc.record({
    cpu: fc.integer({ min: 1, max: max.cpu }),
    memoryBytes: fc.integer({ min: 1, max: max.gib }).map((gib) => gib * GiB),
    diskBytes: fc.integer({ min: 1, max: max.gib * 4 }).map((gib) => gib * GiB),
  });

const anyDemand: fc.Arbitrary<Demand> = fc
  .record({
    macOS: fc.boolean(),
    arch: fc.constantFrom('arm64' as const, 'amd64' as const),
    amounts: amounts({ cpu: 6, gib: 12 }),
    zone: fc.constantFrom(undefined, 'a', 'b'),
    digest: fc.constantFrom(undefined, 'sha256:1', 'sha256:2'),
  })
  .map(({ macOS, arch, amounts, zone, digest }) => ({
    guest: { os: macOS ? 'macOS' : 'linux', arch: macOS ? 'arm64' : arch },
    bundle: { name: macOS ? 'macos' : 'debian', digest },
    amounts,
    selector: zone === undefined ? ({} as Record<string, string>) : { zone },
  }));

const anyHost = (name: string): fc.Arbitrary<HostFacts> =>
  fc
    .record({
      isMac: fc.boolean(),
      arch: fc.constantFrom('arm64' as const, 'amd64' as const),
      zone: fc.constantFrom('a', 'b'),
      digest: fc.constantFrom('sha256:1', 'sha256:2'),
      ready: fc.boolean(),
      cordoned: fc.boolean(),
      deleting: fc.boolean(),
      holdsTemplates: fc.boolean(),
      allocatable: amounts({ cpu: 24, gib: 48 }),
      runners: fc.integer({ min: 0, max: 6 }),
    })
    .map(({ isMac, arch, digest, holdsTemplates, ...host }) => {
      const bundles = [
        ['macos', { digest, os: 'macOS', arch: 'arm64' }],
        ['debian', { digest, os: 'linux', arch: isMac ? 'arm64' : arch }],
      ] as const;
      return {
        kind: isMac ? ('MacHost' as const) : ('LinuxHost' as const),
        name,
        uid: `uid-${name}`,
        labels: { zone: host.zone },
        // Mostly usable, or nothing would ever be placed.
        ready: host.ready || host.zone === 'a',
        cordoned: host.cordoned && host.zone === 'b',
        deleting: host.deleting && host.cordoned,
        machine: isMac
          ? { arch: 'arm64' as const, driver: 'vz' as const }
          : { arch, driver: 'qemu' as const },
        bundles: new Map<string, Bundle>(holdsTemplates || host.ready ? bundles : []),
        allocatable: { ...host.allocatable, runners: host.runners },
      };
    });

const anyHosts = fc
  .integer({ min: 0, max: 5 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => anyHost(`host-${index}`))));

const anyPolicy: fc.Arbitrary<PlacementPolicy> = fc.constantFrom('spread', 'pack');

const taken = (before: Usage, demand: Demand): Usage => ({
  cpu: before.cpu + demand.amounts.cpu,
  memoryBytes: before.memoryBytes + demand.amounts.memoryBytes,
  diskBytes: before.diskBytes + demand.amounts.diskBytes,
  runners: before.runners + 1,
  macOSGuests: before.macOSGuests + (demand.guest.os === 'macOS' ? 1 : 0),
});

describe('properties', () => {
  test('no sequence of placements and departures overfills a host', () => {
    const steps = fc.array(fc.oneof(anyDemand, fc.nat(20)), { maxLength: 60 });
    fc.assert(
      fc.property(anyHosts, steps, anyPolicy, (hosts, sequence, policy) => {
        let running: { host: string; demand: Demand }[] = [];
        const usageOf = (name: string) =>
          running
            .filter(({ host }) => host === name)
            .reduce((sum, { demand }) => taken(sum, demand), NO_USAGE);
        for (const step of sequence) {
          if (typeof step === 'number') {
            running = running.filter((_, index) => index !== step);
            continue;
          }
          const candidates = hosts.map((host) => ({ host, used: usageOf(host.name) }));
          const placement = place(step, candidates, policy);
          if ('host' in placement) running.push({ host: placement.host.name, demand: step });
        }
        for (const host of hosts) {
          const usage = usageOf(host.name);
          expect(usage.runners).toBeLessThanOrEqual(host.allocatable?.runners ?? 0);
          expect(usage.cpu).toBeLessThanOrEqual(host.allocatable?.cpu ?? 0);
          expect(usage.memoryBytes).toBeLessThanOrEqual(host.allocatable?.memoryBytes ?? 0);
          expect(usage.diskBytes).toBeLessThanOrEqual(host.allocatable?.diskBytes ?? 0);
          expect(usage.macOSGuests).toBeLessThanOrEqual(host.kind === 'MacHost' ? MAX_MACOS_GUESTS : 0);
        }
      }),
    );
  });

  test('what fits somewhere is placed where it fits, and what does not is counted once per host', () => {
    fc.assert(
      fc.property(
        anyHosts,
        anyDemand,
        fc.array(anyDemand, { maxLength: 12 }),
        anyPolicy,
        (hosts, demand, others, policy) => {
          const candidates = filled(hosts, others);
          const placement = place(demand, candidates, policy);
          const fitting = candidates.filter(({ host, used }) => misfit(demand, host, used) === undefined);
          if ('host' in placement) {
            expect(fitting.map(({ host }) => host)).toContain(placement.host);
          } else {
            expect(fitting).toEqual([]);
            expect([...placement.unplaceable.values()].reduce((sum, count) => sum + count, 0)).toBe(
              hosts.length,
            );
          }
        },
      ),
    );
  });

  test('the order in which hosts are listed does not matter', () => {
    const shuffled = anyHosts.chain((hosts) =>
      fc.tuple(fc.constant(hosts), fc.shuffledSubarray(hosts, { minLength: hosts.length })),
    );
    fc.assert(
      fc.property(
        shuffled,
        anyDemand,
        fc.array(anyDemand, { maxLength: 12 }),
        anyPolicy,
        ([hosts, other], demand, others, policy) => {
          const candidates = filled(hosts, others);
          const reordered = other.map(
            (host) => candidates.find((candidate) => candidate.host === host) as Candidate,
          );
          expect(place(demand, reordered, policy)).toEqual(place(demand, candidates, policy));
        },
      ),
    );
  });
});

/** The hosts with as many of the demands on them as they take, in turn. */
function filled(hosts: readonly HostFacts[], demands: readonly Demand[]): Candidate[] {
  const candidates = hosts.map((host) => ({ host, used: NO_USAGE }));
  for (const demand of demands) {
    const placement = place(demand, candidates, 'spread');
    if (!('host' in placement)) continue;
    const target = candidates.find(({ host }) => host === placement.host);
    if (target !== undefined) target.used = taken(target.used, demand);
  }
  return candidates;
}
