import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HostStatus } from '../../crds/host.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import { allocatableOf, capacityOf, type MachineSize } from './capacity.ts';

const GIB = 2 ** 30;

const linux: MachineSize = { os: 'linux', cpus: 8, memoryBytes: 32 * GIB, diskBytes: 500 * GIB };
const mac: MachineSize = { os: 'macOS', cpus: 10, memoryBytes: 16 * GIB, diskBytes: 256 * GIB };

test('a Linux machine', () => {
  expect(capacityOf(linux)).toEqual({ cpu: 8, memory: '32Gi', disk: '500Gi', runners: 32 });
  expect(allocatableOf(linux, {})).toEqual({ cpu: 32, memory: '31129Mi', disk: '480Gi', runners: 32 });
});

test('a Mac', () => {
  expect(capacityOf(mac)).toEqual({ cpu: 10, memory: '16Gi', disk: '256Gi', runners: 2 });
  expect(allocatableOf(mac, {})).toEqual({ cpu: 10, memory: '13Gi', disk: '236Gi', runners: 2 });
});

test.each([
  [{ cpuOvercommit: 1 }, { cpu: 8, runners: 8 }],
  [{ cpuOvercommit: 64 }, { cpu: 512, runners: 121 }],
  [{ maxRunners: 3 }, { cpu: 32, runners: 3 }],
  [{ maxRunners: 0 }, { cpu: 32, runners: 0 }],
  [
    { maxRunners: 1000, cpuOvercommit: 2 },
    { cpu: 16, runners: 1000 },
  ],
  [{ unschedulable: true }, { cpu: 32, runners: 32 }],
])('the user says %j', (spec, expected) => {
  expect(allocatableOf(linux, spec)).toMatchObject(expected);
});

test.each([
  [2, '1536Mi'],
  [4, '3Gi'],
  [64, '62259Mi'],
])('a Linux machine of %i GiB gives Runners %s', (gib, memory) => {
  expect(allocatableOf({ ...linux, memoryBytes: gib * GIB }, {}).memory).toBe(memory);
});

const anyMachine = fc.record({
  os: fc.constantFrom('linux' as const, 'macOS' as const),
  cpus: fc.integer({ min: 1, max: 1024 }),
  memoryBytes: fc.integer({ min: 512 * 2 ** 20, max: 4096 * GIB }),
  diskBytes: fc.integer({ min: GIB, max: 256 * 1024 * GIB }),
});
const anySpec = fc.record(
  {
    maxRunners: fc.integer({ min: 0, max: 1000 }),
    cpuOvercommit: fc.integer({ min: 1, max: 64 }),
    unschedulable: fc.boolean(),
  },
  { requiredKeys: [] },
);

test('whatever the machine: valid, stable, memory and disk never overcommitted', () => {
  fc.assert(
    fc.property(anyMachine, anySpec, (machine, spec) => {
      const capacity = capacityOf(machine);
      const allocatable = allocatableOf(machine, spec);
      expect(HostStatus.safeParse({ capacity, allocatable }).success).toBe(true);
      expect(allocatableOf({ ...machine }, { ...spec })).toEqual(allocatable);
      expect(quantityBytes(allocatable.memory)).toBeLessThan(machine.memoryBytes);
      expect(quantityBytes(allocatable.memory)).toBeGreaterThan(machine.memoryBytes * 0.74);
      expect(quantityBytes(allocatable.disk)).toBeLessThan(machine.diskBytes);
      expect(quantityBytes(capacity.memory)).toBeLessThanOrEqual(machine.memoryBytes);
      expect(quantityBytes(capacity.disk)).toBeLessThanOrEqual(machine.diskBytes);
      expect(allocatable.runners).toBe(spec.maxRunners ?? allocatable.runners);
      expect(capacity.runners).toBeGreaterThanOrEqual(1);
    }),
  );
});
