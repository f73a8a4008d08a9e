import type { HostResources, HostSpec } from '../../crds/host.ts';
import { bytesQuantity } from '../../crds/scalars.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Smallest memory that a guest is expected to live in: bounds the default number of Runners. */
const SMALLEST_GUEST_BYTES = 256 * MIB;
/** Upper bound of `spec.maxRunners`, kept by the default too. */
const MOST_RUNNERS = 1000;

/**
 * What a machine has, read once when the daemon starts: some filesystems and hypervisors change these
 * numbers by a little all the time, and an idle host must have nothing to write.
 */
export interface MachineSize {
  readonly os: 'macOS' | 'linux';
  /** CPUs that this process may use. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Size of the volume that the host root lies on, not what is free of it. */
  readonly diskBytes: number;
}

/** Per operating system: what an empty spec means, and what is kept back for the host itself. */
const DEFAULTS = {
  linux: { cpuOvercommit: 4, memoryReserve: { share: 0.05, least: GIB } },
  macOS: { cpuOvercommit: 1, memoryReserve: { share: 0.1, least: 3 * GIB } },
} as const;

/** Apple's limit: a Mac runs two macOS guests. */
const MAC_RUNNERS = 2;
/** However small the machine, Runners get three quarters of its memory. */
const MOST_MEMORY_RESERVE_SHARE = 0.25;
const DISK_RESERVE = { share: 0.1, most: 20 * GIB } as const;

/** What the machine has, before anything is reserved or overcommitted. Depends on no spec. */
export function capacityOf(machine: MachineSize): HostResources {
  return {
    cpu: machine.cpus,
    memory: wholeMebibytes(machine.memoryBytes),
    disk: wholeMebibytes(machine.diskBytes),
    runners: defaultRunners(machine, DEFAULTS[machine.os].cpuOvercommit),
  };
}

/**
 * What Runners may take of it.
 *
 * - `cpu`: CPUs times the overcommitment.
 * - `memory`: all but what the host itself and the VM processes' own overhead need: 5 % but at least 1 GiB
 *   on Linux, 10 % but at least 3 GiB on a Mac, never over a quarter.
 * - `disk`: the volume less 10 %, at most 20 GiB. Runners are counted by the full size of their disks,
 *   though a clone shares its blocks with the template: so what else lies on the volume is not subtracted,
 *   and the number does not change with it. Real room is watched apart (disk-room.ts).
 * - `runners`: `spec.maxRunners`; by default 2 on a Mac, and on Linux as many as the other numbers allow of
 *   the smallest guest.
 */
export function allocatableOf(machine: MachineSize, spec: HostSpec): HostResources {
  const overcommit = spec.cpuOvercommit ?? DEFAULTS[machine.os].cpuOvercommit;
  return {
    cpu: machine.cpus * overcommit,
    memory: wholeMebibytes(allocatableMemory(machine)),
    disk: wholeMebibytes(
      machine.diskBytes - Math.min(machine.diskBytes * DISK_RESERVE.share, DISK_RESERVE.most),
    ),
    runners: spec.maxRunners ?? defaultRunners(machine, overcommit),
  };
}

function allocatableMemory(machine: MachineSize): number {
  const { share, least } = DEFAULTS[machine.os].memoryReserve;
  const reserve = Math.min(
    Math.max(machine.memoryBytes * share, least),
    machine.memoryBytes * MOST_MEMORY_RESERVE_SHARE,
  );
  return machine.memoryBytes - reserve;
}

function defaultRunners(machine: MachineSize, cpuOvercommit: number): number {
  if (machine.os === 'macOS') return MAC_RUNNERS;
  const byMemory = Math.floor(allocatableMemory(machine) / SMALLEST_GUEST_BYTES);
  return Math.max(1, Math.min(machine.cpus * cpuOvercommit, byMemory, MOST_RUNNERS));
}

function wholeMebibytes(bytes: number): string {
  return bytesQuantity(Math.floor(bytes / MIB) * MIB);
}
