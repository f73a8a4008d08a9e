import type { Host } from '../../crds/host.ts';
import type { Runner } from '../../crds/runner.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import type { ApiServer } from './api-server/server.ts';

/** A finalizer of a VM. */
export interface Hold {
  readonly host: string;
  readonly attempt: number;
}

const VM_FINALIZER = /^vm\.shoesvz\.dev\/(.+)\.(\d+)$/;

export function holdOf(finalizer: string): Hold | undefined {
  const [, host, attempt] = VM_FINALIZER.exec(finalizer) ?? [];
  return host === undefined ? undefined : { host, attempt: Number(attempt) };
}

/** VMs that the object says may exist. */
export const holdsOf = ({ metadata }: Runner): Hold[] =>
  (metadata.finalizers ?? []).map(holdOf).filter((hold) => hold !== undefined);

export const isOver = ({ status }: Runner): boolean =>
  status?.phase === 'Finished' || status?.phase === 'Error';

/** The bound attempt is over, and nothing is left of it: the Runner waits for another. */
export const hasFailed = ({ spec: { binding }, status }: Runner): boolean =>
  status?.attempts?.some(({ attempt }) => attempt === binding?.attempt) ?? false;

export const runnersOf = (server: ApiServer): Runner[] => server.list('Runner') as unknown as Runner[];

export function hostObject(server: ApiServer, name: string): Host | undefined {
  const found = server.get('LinuxHost', { name }) ?? server.get('MacHost', { name });
  return found as unknown as Host | undefined;
}

/** What all Runners together hold of a host, by the objects alone, and what there is. */
export interface Occupancy {
  readonly runners: number;
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

export function takenOf(server: ApiServer, hostName: string): Occupancy {
  let taken: Occupancy = { runners: 0, cpu: 0, memoryBytes: 0, diskBytes: 0 };
  for (const runner of runnersOf(server)) {
    const { binding } = runner.spec;
    if (binding === undefined) continue;
    const attempts = new Set(
      holdsOf(runner)
        .filter(({ host }) => host === hostName)
        .map(({ attempt }) => attempt),
    );
    const isHeld = !isOver(runner) && !hasFailed(runner);
    // A binding to a host that is no more holds what its finalizer says, and nothing by itself.
    const isTo = binding.hostUID === hostObject(server, hostName)?.metadata.uid;
    if (isTo && isHeld) attempts.add(binding.attempt);
    for (const _ of attempts) taken = sum(taken, binding.resources);
  }
  return taken;
}

export function roomOf({ spec, status }: Host): Occupancy {
  const { cpu = 0, memory = '0', disk = '0', runners = 0 } = status?.allocatable ?? {};
  return {
    runners: Math.min(runners, spec.maxRunners ?? runners),
    cpu,
    memoryBytes: quantityBytes(memory),
    diskBytes: quantityBytes(disk),
  };
}

export const fits = (taken: Occupancy, room: Occupancy): boolean =>
  taken.runners <= room.runners &&
  taken.cpu <= room.cpu &&
  taken.memoryBytes <= room.memoryBytes &&
  taken.diskBytes <= room.diskBytes;

export const sum = (a: Occupancy, more: { cpu: number; memory: string; disk: string }): Occupancy => ({
  runners: a.runners + 1,
  cpu: a.cpu + more.cpu,
  memoryBytes: a.memoryBytes + quantityBytes(more.memory),
  diskBytes: a.diskBytes + quantityBytes(more.disk),
});
