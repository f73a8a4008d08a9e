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
  [
    { reserved: { cpu: 2, memory: '12Gi', disk: '100Gi' } },
    { cpu: 24, memory: '20Gi', disk: '400Gi', runners: 24 },
  ],
  // Only what is said is replaced.
  [{ reserved: { cpu: 7 } }, { cpu: 4, memory: '31129Mi', disk: '480Gi', runners: 4 }],
  [{ reserved: { memory: '0', disk: '0' } }, { cpu: 32, memory: '32Gi', disk: '500Gi', runners: 32 }],
  [{ reserved: { memory: '31Gi' } }, { memory: '1Gi', runners: 4 }],
  // All of it, and more than there is: nothing is left, which is a host that is too small for any class.
  [{ reserved: { cpu: 8, memory: '32Gi', disk: '500Gi' } }, { cpu: 0, memory: '0', disk: '0' }],
  [{ reserved: { cpu: 1024, memory: '1Ti', disk: '1Ti' } }, { cpu: 0, memory: '0', disk: '0', runners: 1 }],
])('the user says %j', (spec, expected) => {
  expect(allocatableOf(linux, spec)).toMatchObject(expected);
});

test("what a Mac keeps for itself is its user's to say, the number of its guests is not", () => {
  expect(allocatableOf(mac, { reserved: { cpu: 2, memory: '4Gi', disk: '56Gi' } })).toEqual({
    ...{ cpu: 8, memory: '12Gi', disk: '200Gi', runners: 2 },
  });
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
const anyReserve = fc.oneof(
  fc.constant('0'),
  fc.integer({ min: 16, max: 2 ** 22 }).map((mebibytes) => `${mebibytes}Mi`),
);
const anyReserved = fc.record(
  { cpu: fc.integer({ min: 0, max: 1024 }), memory: anyReserve, disk: anyReserve },
  { requiredKeys: [] },
);
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

test('whatever is reserved: valid, never more than the machine less that, and never less by more', () => {
  fc.assert(
    fc.property(anyMachine, anySpec, anyReserved, (machine, spec, reserved) => {
      const plain = allocatableOf(machine, spec);
      const allocatable = allocatableOf(machine, { ...spec, reserved });
      expect(HostStatus.safeParse({ allocatable }).success).toBe(true);
      for (const [part, total] of [
        ['memory', machine.memoryBytes],
        ['disk', machine.diskBytes],
      ] as const) {
        const kept = reserved[part];
        if (kept === undefined) expect(allocatable[part]).toBe(plain[part]);
        else {
          const left = Math.max(0, total - quantityBytes(kept));
          expect(quantityBytes(allocatable[part])).toBeLessThanOrEqual(left);
          expect(quantityBytes(allocatable[part])).toBeGreaterThan(left - 2 ** 20);
        }
      }
      expect(allocatable.cpu).toBeLessThanOrEqual(plain.cpu);
    }),
  );
});
