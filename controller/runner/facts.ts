import type { Host } from '../../crds/host.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import { isTrue } from '../../kube/conditions.ts';
import type { HostFacts } from './place.ts';

/** What the host's Lease says: `lost` only where it was judged stale, see host/. */
export type Heartbeat = 'heard' | 'lost';

/** What placement needs to know of a host object. */
export function hostFacts(host: Host, heartbeat: Heartbeat): HostFacts {
  const { metadata, spec, status } = host;
  const ready = status?.conditions?.find((condition) => condition.type === 'Ready');
  return {
    kind: host.kind,
    name: metadata.name,
    uid: metadata.uid ?? '',
    labels: metadata.labels ?? {},
    ready: ready?.status === 'True' && heartbeat === 'heard',
    needsReboot: isTrue(status?.conditions, 'NeedsReboot'),
    cordoned: spec.unschedulable === true,
    deleting: metadata.deletionTimestamp !== undefined,
    machine: status?.nodeInfo,
    bundles: new Map((status?.templates ?? []).map((bundle) => [bundle.name, bundle])),
    allocatable: allocatable(host),
  };
}

/** A lowered `spec.maxRunners` counts at once, whether or not the node daemon has taken it over. */
function allocatable({ spec, status }: Host): HostFacts['allocatable'] {
  const told = status?.allocatable;
  if (told === undefined) return undefined;
  return {
    cpu: told.cpu,
    memoryBytes: quantityBytes(told.memory),
    diskBytes: quantityBytes(told.disk),
    runners: Math.min(told.runners, spec.maxRunners ?? told.runners),
  };
}
