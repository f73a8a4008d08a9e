import { type HostResources, type HostSpec, MAX_MACOS_GUESTS } from '../../crds/host.ts';
import { bytesQuantity, quantityBytes } from '../../crds/scalars.ts';

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

/** However small the machine, Runners get three quarters of its memory. */
const MOST_MEMORY_RESERVE_SHARE = 0.25;
const DISK_RESERVE = { share: 0.1, most: 20 * GIB } as const;

/** What the machine has, before anything is reserved or overcommitted. Depends on no spec. */
export function capacityOf(machine: MachineSize): HostResources {
  return {
    cpu: machine.cpus,
    memory: wholeMebibytes(machine.memoryBytes),
    disk: wholeMebibytes(machine.diskBytes),
    runners: defaultRunners(machine, {}),
  };
}

/**
 * What Runners may take of it. What `spec.reserved` says of a part replaces the default reserve of that part.
 *
 * - `cpu`: CPUs, less those that are reserved, times the overcommitment.
 * - `memory`: all but what the host itself and the VM processes' own overhead need: 5 % but at least 1 GiB
 *   on Linux, 10 % but at least 3 GiB on a Mac, never over a quarter.
 * - `disk`: the volume less 10 %, at most 20 GiB. Runners are counted by the full size of their disks,
 *   though a clone shares its blocks with the template: so what else lies on the volume is not subtracted,
 *   and the number does not change with it. Real room is watched apart (disk-room.ts).
 * - `runners`: `spec.maxRunners`; by default 2 on a Mac, and on Linux as many as the other numbers allow of
 *   the smallest guest.
 */
export function allocatableOf(machine: MachineSize, spec: HostSpec): HostResources {
  return {
    cpu: allocatableCpu(machine, spec),
    memory: wholeMebibytes(allocatableMemory(machine, spec)),
    disk: wholeMebibytes(allocatableDisk(machine, spec)),
    runners: spec.maxRunners ?? defaultRunners(machine, spec),
  };
}

function allocatableCpu(machine: MachineSize, { cpuOvercommit, reserved }: HostSpec): number {
  const left = Math.max(0, machine.cpus - (reserved?.cpu ?? 0));
  return left * (cpuOvercommit ?? DEFAULTS[machine.os].cpuOvercommit);
}

function allocatableMemory(machine: MachineSize, { reserved }: HostSpec): number {
  const { memoryBytes } = machine;
  if (reserved?.memory !== undefined) return Math.max(0, memoryBytes - quantityBytes(reserved.memory));
  const { share, least } = DEFAULTS[machine.os].memoryReserve;
  return (
    memoryBytes - Math.min(Math.max(memoryBytes * share, least), memoryBytes * MOST_MEMORY_RESERVE_SHARE)
  );
}

function allocatableDisk({ diskBytes }: MachineSize, { reserved }: HostSpec): number {
  if (reserved?.disk !== undefined) return Math.max(0, diskBytes - quantityBytes(reserved.disk));
  return diskBytes - Math.min(diskBytes * DISK_RESERVE.share, DISK_RESERVE.most);
}

function defaultRunners(machine: MachineSize, spec: HostSpec): number {
  if (machine.os === 'macOS') return MAX_MACOS_GUESTS;
  const byMemory = Math.floor(allocatableMemory(machine, spec) / SMALLEST_GUEST_BYTES);
  return Math.max(1, Math.min(allocatableCpu(machine, spec), byMemory, MOST_RUNNERS));
}

function wholeMebibytes(bytes: number): string {
  return bytesQuantity(Math.floor(bytes / MIB) * MIB);
}
