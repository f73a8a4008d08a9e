import { GROUP, SYSTEM_NAMESPACE, VERSION } from '../crds/meta.ts';
import { LINUX_HOSTS, MAC_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../crds/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { ApiError, isForbidden, isNotFound, isUnauthorized } from '../kube/errors.ts';
import { LEASES } from '../kube/lease.ts';
import type { KubeObject, ResourceType } from '../kube/object.ts';
import { ControllerError } from './error.ts';

const KINDS: readonly ResourceType<KubeObject>[] = [
  RUNNERS,
  TEMPLATES,
  MAC_HOSTS,
  LINUX_HOSTS,
  RUNNER_CLASSES,
];

const REMEDY = 'install the CRDs of this version of shoes-vz (crds/generated)';

/**
 * Whether the API server can be reached, lets this controller in and serves all of its kinds: it reads one of
 * each. Throws ApiUnreachable or ControllerError, one line each.
 */
export async function preflight(client: Pick<KubeClient, 'collection' | 'raw' | 'server'>): Promise<void> {
  const missing: string[] = [];
  const look = async (type: ResourceType<KubeObject>, namespace?: string) => {
    try {
      await client.collection(type).listPage({ namespace, limit: 1 });
    } catch (error) {
      if (!isKindNotServed(error)) throw asControllerError(error, client.server);
      missing.push(type.plural);
    }
  };
  await Promise.all([...KINDS.map((type) => look(type)), look(LEASES, SYSTEM_NAMESPACE)]);
  if (missing.length > 0) throw await whyMissing(client, missing);
}

const isKindNotServed = (error: unknown): boolean =>
  error instanceof ApiError && error.reason === 'KindNotServed';

async function whyMissing(
  client: Pick<KubeClient, 'raw' | 'server'>,
  missing: readonly string[],
): Promise<Error> {
  const wanted = `${GROUP}/${VERSION}`;
  const found = await servedVersions(client);
  const server = `the API server at ${client.server}`;
  if (found.length === 0) return new ControllerError(`${server} does not serve ${wanted}: ${REMEDY}`);
  if (!found.includes(wanted)) {
    return new ControllerError(
      `${server} serves ${found.join(', ')}, and this controller needs ${wanted}: ${REMEDY}, or run the controller that belongs to them`,
    );
  }
  return new ControllerError(`${server} serves ${wanted} without ${missing.join(', ')}: ${REMEDY}`);
}

/** Versions of our API group; none where it is not known. */
async function servedVersions(client: Pick<KubeClient, 'raw'>): Promise<string[]> {
  try {
    const { versions } = JSON.parse(await client.raw(`/apis/${GROUP}`)) as {
      versions?: { groupVersion: string }[];
    };
    return (versions ?? []).map(({ groupVersion }) => groupVersion);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** What a person can do about being turned away. Other errors are as they were. */
export function asControllerError(error: unknown, server: string): Error {
  if (isUnauthorized(error)) {
    return new ControllerError(
      `the API server at ${server} does not accept the credentials (401): they may have expired; renew the kubeconfig`,
      { cause: error },
    );
  }
  if (isForbidden(error)) {
    return new ControllerError(
      `the API server at ${server} forbids what the controller needs: ${error.message}; bind its user to the ClusterRole in deploy/rbac/controller.yaml`,
      { cause: error },
    );
  }
  if (isNotFound(error) && error.details?.kind === 'namespaces') {
    return new ControllerError(
      `the namespace ${SYSTEM_NAMESPACE} is missing on the API server at ${server}: create it (deploy/namespace.yaml)`,
      { cause: error },
    );
  }
  return error instanceof Error ? error : new Error(String(error));
}
