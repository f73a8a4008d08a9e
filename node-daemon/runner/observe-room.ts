import { hasFailed, isOver } from '../../crds/attempts.ts';
import type { Binding, Runner } from '../../crds/runner.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import type { Stored } from '../../kube/object.ts';
import type { RunnerResources } from '../vm/driver.ts';
import type { RuntimeMetadata } from '../vm/metadata.ts';
import { type Claim, shortage, type WaitingClaim } from './capacity.ts';
import type { RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';
import type { Sessions } from './sessions.ts';

/**
 * Line 3 of the binding protocol: the host has the last word on capacity. Why the bound attempt does not fit here,
 * with nothing of it begun; undefined where it does, and then its room is kept for it until its session ends.
 */
export async function observeShortage(
  ports: RunnerPorts,
  sessions: Sessions,
  session: VmSession,
  runner: Stored<Runner>,
  boundHere: () => readonly Stored<Runner>[],
): Promise<string | undefined> {
  if (session.claim !== undefined || !isWaiting(ports, runner)) return undefined;
  const own = claimOf(ports, runner);
  if (own === undefined) return undefined;
  const onDisk = await claimsOnDisk(ports, sessions, boundHere);
  // Nothing is awaited from here on: what two looks find free at once, one of them gets.
  const begun = new Map(onDisk.map((claim) => [keyOf(claim), claim]));
  for (const { claim, isPurged } of sessions.list()) {
    if (claim !== undefined && !isPurged) begun.set(keyOf(claim), claim);
  }
  const waiting = boundHere().flatMap((other) =>
    isWaiting(ports, other) ? (claimOf(ports, other) ?? []) : [],
  );
  const others = waiting.filter((claim) => !begun.has(keyOf(claim)));
  const short = shortage(ports.host.allocatable(), begun.values(), others, own);
  if (short === undefined) session.claim = own;
  return short;
}

const keyOf = ({ uid, attempt }: Pick<Claim, 'uid' | 'attempt'>): string => `${uid}.${attempt}`;

/** Whether a launch of it may follow. */
function isWaiting({ host }: RunnerPorts, runner: Runner): boolean {
  const isOurs = runner.spec.binding?.hostUID === host.uid();
  return isOurs && !isOver(runner) && !hasFailed(runner) && runner.metadata.deletionTimestamp === undefined;
}

function claimOf(ports: RunnerPorts, { metadata, spec }: Stored<Runner>): WaitingClaim | undefined {
  const { binding } = spec;
  if (binding === undefined) return undefined;
  return {
    uid: metadata.uid,
    attempt: binding.attempt,
    resources: resourcesOf(binding),
    isMacOS: isMacOS(ports, binding.templateDigest),
    createdAt: metadata.creationTimestamp,
  };
}

const resourcesOf = ({ resources: { cpu, memory, disk } }: Binding): RunnerResources => ({
  cpu,
  memoryBytes: quantityBytes(memory),
  diskBytes: quantityBytes(disk),
});

/** A guest whose template is gone counts as macOS: on a host that runs none, that takes nothing from anybody. */
function isMacOS({ host }: RunnerPorts, digest: string): boolean | undefined {
  const template = [...host.templates().values()].find(({ metadata }) => metadata.digest === digest);
  return template === undefined ? undefined : template.metadata.os === 'macOS';
}

const NOTHING: RunnerResources = { cpu: 0, memoryBytes: 0, diskBytes: 0 };

/**
 * What lies on disk of VMs that no session of this process speaks for, whatever becomes of them: by the binding where
 * it is known, as everybody else counts. What was not prepared never had a VM.
 */
async function claimsOnDisk(
  ports: RunnerPorts,
  sessions: Sessions,
  boundHere: () => readonly Stored<Runner>[],
): Promise<Claim[]> {
  const claims: Claim[] = [];
  for (const paths of (await ports.bundles.list()).bundles) {
    if (sessions.at(paths)?.claim !== undefined) continue;
    // One that cannot be read keeps its place, and nobody else from theirs.
    const view = await ports.bundles.view(paths).catch(() => 'unreadable' as const);
    if (view === undefined || (view !== 'unreadable' && view.purged)) continue;
    const { uid, attempt } = paths;
    const read = view === 'unreadable' ? undefined : view.metadata;
    const metadata = read?.state === 'present' ? read.metadata : undefined;
    const binding = boundHere().find((runner) => runner.metadata.uid === uid)?.spec.binding;
    const isBound = binding?.attempt === attempt && binding.hostUID === metadata?.identity.hostUid;
    const resources = isBound ? resourcesOf(binding) : (metadata?.prepared?.spec.resources ?? NOTHING);
    claims.push({ uid, attempt, resources, isMacOS: isMacOSOnDisk(ports, metadata) });
  }
  return claims;
}

const isMacOSOnDisk = (ports: RunnerPorts, metadata: RuntimeMetadata | undefined): boolean | undefined =>
  metadata === undefined ? undefined : isMacOS(ports, metadata.template.digest);
