import type { Host } from '../../crds/host.ts';
import { HOST_RESOURCES } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import { findHost, printedName } from './find.ts';

/** A host's status may be written at any moment; its spec hardly ever. */
const ATTEMPTS = 10;

export interface Cordoned {
  /** As it is now. */
  readonly host: Stored<Host>;
  /** False where it was so before. */
  readonly changed: boolean;
}

/** Lets Runners be bound to a host, or not. Those that are there stay. */
export async function setUnschedulable(
  client: Pick<KubeClient, 'resources'>,
  host: Stored<Host>,
  unschedulable: boolean,
): Promise<Cordoned> {
  const hosts = client.resources<Host>(HOST_RESOURCES[host.kind]);
  let current = host;
  for (let attempt = 1; ; attempt += 1) {
    if ((current.spec.unschedulable ?? false) === unschedulable) return { host: current, changed: false };
    try {
      const { metadata } = current;
      const spec = { unschedulable: unschedulable ? true : null };
      return { host: await hosts.patch(metadata, metadata.resourceVersion, { spec }), changed: true };
    } catch (error) {
      if (!isConflict(error) || attempt === ATTEMPTS) throw error;
      current = await findHost(client, { kind: host.kind, name: host.metadata.name });
    }
  }
}

/** What kubectl says of a node: `… cordoned`, `… already cordoned`. */
export const cordonLine = ({ host, changed }: Cordoned, done: 'cordoned' | 'uncordoned'): string =>
  `${printedName(host)} ${changed ? '' : 'already '}${done}`;
