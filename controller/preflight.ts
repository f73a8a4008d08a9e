import { GROUP, VERSION } from '../crds/meta.ts';
import { LINUX_HOSTS, MAC_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../crds/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isForbidden, isNotFound, isUnauthorized } from '../kube/errors.ts';
import { ControllerError } from './error.ts';

type Reader = Pick<KubeClient, 'raw' | 'server'>;

/** What the API server must serve, as discovery names it. */
const NEEDED = [
  RUNNERS.plural,
  `${RUNNERS.plural}/status`,
  TEMPLATES.plural,
  `${TEMPLATES.plural}/status`,
  MAC_HOSTS.plural,
  `${MAC_HOSTS.plural}/status`,
  LINUX_HOSTS.plural,
  `${LINUX_HOSTS.plural}/status`,
  RUNNER_CLASSES.plural,
] as const;

const REMEDY = 'install the CRDs of this version of shoes-vz (crds/generated)';

/**
 * Whether the API server can be reached, lets this controller in and serves all of its kinds. Throws
 * ApiUnreachable or ControllerError, one line each.
 */
export async function preflight(client: Reader): Promise<void> {
  const served = await servedNames(client);
  const missing = NEEDED.filter((name) => !served.has(name));
  if (missing.length === 0) return;
  throw new ControllerError(
    `the API server at ${client.server} serves ${GROUP}/${VERSION} without ${missing.join(', ')}: ${REMEDY}`,
  );
}

async function servedNames(client: Reader): Promise<ReadonlySet<string>> {
  try {
    const { resources } = JSON.parse(await client.raw(`/apis/${GROUP}/${VERSION}`)) as {
      resources?: { name: string }[];
    };
    return new Set((resources ?? []).map(({ name }) => name));
  } catch (error) {
    if (isNotFound(error)) throw await otherVersion(client);
    throw asControllerError(error, client.server);
  }
}

async function otherVersion(client: Reader): Promise<Error> {
  const wanted = `${GROUP}/${VERSION}`;
  try {
    const { versions } = JSON.parse(await client.raw(`/apis/${GROUP}`)) as {
      versions?: { version: string }[];
    };
    const found = (versions ?? []).map(({ version }) => `${GROUP}/${version}`).join(', ');
    return new ControllerError(
      `the API server at ${client.server} serves ${found}, and this controller needs ${wanted}: ${REMEDY}, or run the controller that belongs to them`,
    );
  } catch (error) {
    if (!isNotFound(error)) return asControllerError(error, client.server);
    return new ControllerError(`the API server at ${client.server} does not serve ${wanted}: ${REMEDY}`);
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
  return error instanceof Error ? error : new Error(String(error));
}
