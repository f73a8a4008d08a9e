import { hostname } from 'node:os';
import { join } from 'node:path';
import { HOST_KINDS, type Host, type HostKind } from '../../crds/host.ts';
import { HOST_RESOURCES } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { type Clock, systemClock } from '../../kube/clock.ts';
import { ExplainedError } from '../../kube/explained-error.ts';
import { LEASES, type LeaseHolder } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import { type DurableFile, durableFile } from '../durable-file.ts';
import { templatesDir } from '../vm/bundle.ts';
import { DIGEST_CACHE_FILE, openDigestCache } from '../vm/digest-cache.ts';
import type { VmDriver } from '../vm/driver.ts';
import { systemProcessTable } from '../vm/process-table.ts';
import { templateReader } from '../vm/template.ts';
import { claimName, HostNameTakenError, takenByObject, takenByOtherKind } from './claim-name.ts';
import type { HostRoot } from './host-root.ts';
import { type Machine, readMachine, readVolume, type VolumeRoom } from './machine.ts';
import { hostNameFrom, hostNameProblem } from './name.ts';
import { Prober } from './prober.ts';
import { RebootNote } from './reboot-note.ts';
import { type InitialHost, Registrar } from './register.ts';
import { RoomWatch } from './room-watch.ts';
import { HostSession, type SessionParts } from './session.ts';
import { TemplateInventory } from './templates/inventory.ts';

export interface HostSessionOptions {
  /** Locked by this process: see openHostRoot. */
  readonly root: Pick<HostRoot, 'path' | 'machineId'>;
  /** Default: the machine's own host name, made a DNS name. */
  readonly name?: string | undefined;
  readonly client: KubeClient;
  readonly driver: Pick<VmDriver, 'name' | 'probe'>;
  readonly daemonVersion: string;
  /** What a host object that does not exist yet is created with. One that exists is left as its user made it. */
  readonly initial?: InitialHost | undefined;
  /** Host UIDs that bundles on this machine name. Where the host object is not theirs, the session starts `vanished`. */
  readonly heldUids: ReadonlySet<string>;
  readonly log: Logger;
  readonly clock?: Clock | undefined;
  /** Ends the opening, which may wait for a dead machine's Lease to run out. */
  readonly signal?: AbortSignal | undefined;
  /** For tests: another machine and disk than these, and other terms of the Lease. */
  readonly machine?: Machine | undefined;
  readonly disk?: HostDisk | undefined;
  /** Changes with every boot of the machine. Default: that of this machine. */
  readonly bootId?: (() => Promise<string>) | undefined;
  readonly lease?: { readonly durationMs: number; readonly renewEveryMs: number } | undefined;
}

/** What a session reads of the host root. */
export interface HostDisk {
  readonly inventory: SessionParts['inventory'];
  /** That the machine must be rebooted: see {@link RebootNote}. */
  readonly rebootNote: DurableFile;
  /** Room on the volume of a path. */
  readVolume(path: string): Promise<VolumeRoom>;
}

/**
 * Makes this machine a host: claims its name, finds or creates its object, and keeps its status told. Rejects,
 * with nothing left running, where that cannot be: the API server is unreachable or lacks the CRDs, or
 * another machine has the name ({@link HostNameTakenError}), or VMs of another name lie here. Messages are one line for a person.
 */
export async function openHostSession(options: HostSessionOptions): Promise<HostSession> {
  const { root, client, log } = options;
  const clock = options.clock ?? systemClock;
  const machine = options.machine ?? (await readMachine(root.path));
  const name = chooseName(options.name);
  const kind: HostKind = machine.os === 'macOS' ? 'MacHost' : 'LinuxHost';
  await refuseTakenName(client, kind, name, root.machineId);
  await refuseOtherName(client, kind, name, options.heldUids);

  let session: HostSession | undefined;
  const shared = { client, name, clock, log, changed: () => session?.changed() };
  const { machineId } = root;
  const lease = await claimName({
    ...{ ...shared, ...options.lease, machineId, signal: options.signal },
    leases: client.resources(LEASES),
  });
  try {
    session = await compose(options, { ...shared, kind, machine, lease });
    await session.start();
    return session;
  } catch (error) {
    const releaseLease = error instanceof HostNameTakenError;
    if (session === undefined) await lease.stop({ release: releaseLease });
    else await session.abandon({ releaseLease });
    throw error;
  }
}

interface Shared {
  readonly client: KubeClient;
  readonly name: string;
  readonly kind: HostKind;
  readonly machine: Machine;
  readonly lease: LeaseHolder;
  readonly clock: Clock;
  readonly log: Logger;
  changed(): void;
}

async function compose(options: HostSessionOptions, shared: Shared): Promise<HostSession> {
  const { root, driver, daemonVersion, heldUids } = options;
  const { machineId, path } = root;
  const disk = options.disk ?? (await openDisk(path, shared));
  const bootId = options.bootId ?? systemProcessTable().bootId;
  return new HostSession({
    ...shared,
    identity: { machine: shared.machine, machineId, root: path, driver: driver.name, daemonVersion },
    registrar: new Registrar({
      ...shared,
      machineId,
      heldUids,
      initial: options.initial ?? { spec: {}, labels: {} },
    }),
    inventory: disk.inventory,
    reboot: await RebootNote.open({ ...shared, file: disk.rebootNote, bootId }),
    prober: new Prober({ ...shared, driver }),
    room: new RoomWatch({ ...shared, root: path, read: disk.readVolume }),
  });
}

async function openDisk(root: string, { clock, log }: Shared): Promise<HostDisk> {
  const reader = templateReader(await openDigestCache(join(root, DIGEST_CACHE_FILE)));
  return {
    inventory: new TemplateInventory({ clock, log, dir: templatesDir(root), reader }),
    rebootNote: durableFile(join(root, 'needs-reboot.json'), 0o644),
    readVolume,
  };
}

function chooseName(given: string | undefined): string {
  const own = hostname();
  const name = given ?? hostNameFrom(own);
  if (name === undefined) {
    throw new HostNameError(`--host-name: this machine's own name, "${own}", cannot be used; give one`);
  }
  const problem = hostNameProblem(name);
  if (problem !== undefined) throw new HostNameError(`--host-name: ${problem}`);
  return name;
}

/** Refuses what can be refused before anything is written. */
async function refuseTakenName(
  client: KubeClient,
  kind: HostKind,
  name: string,
  machineId: string,
): Promise<void> {
  for (const each of HOST_KINDS) {
    const object = await client.resources<Host>(HOST_RESOURCES[each]).get({ name });
    if (object === undefined) continue;
    if (each !== kind) throw takenByOtherKind(name, each);
    const owner = object.status?.nodeInfo?.machineID;
    if (owner !== undefined && owner !== machineId) throw takenByObject(object);
  }
}

/**
 * Under another name this machine would be another host, and would destroy VMs that are still wanted: a name that
 * comes from the network may change by itself.
 */
async function refuseOtherName(
  client: KubeClient,
  kind: HostKind,
  name: string,
  heldUids: ReadonlySet<string>,
): Promise<void> {
  if (heldUids.size === 0) return;
  const { items } = await client.resources<Host>(HOST_RESOURCES[kind]).list();
  const former = items.find(({ metadata }) => metadata.name !== name && heldUids.has(metadata.uid));
  if (former === undefined) return;
  throw new HostNameError(
    `--host-name: VMs on this machine belong to the ${kind} "${former.metadata.name}", not to "${name}"; give that name, or delete that ${kind}, which declares its VMs dead`,
  );
}

/** The host name cannot be used. The message is one line that names the flag. */
export class HostNameError extends ExplainedError {
  constructor(message: string) {
    super(message);
    this.name = 'HostNameError';
  }
}
