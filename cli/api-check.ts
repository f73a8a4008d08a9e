import type { KubeClient } from '../kube/client.ts';
import { isForbidden, isUnauthorized } from '../kube/errors.ts';
import type { KubeObject, ResourceType } from '../kube/object.ts';
import { CliError } from './failure.ts';

/**
 * Whether the API server lets this process in and serves the kinds: it reads one of each. Asked before anything is
 * made on this machine. Rejects with one line.
 *
 * @param role file with the rights that are needed.
 */
export async function requireKinds(
  client: Pick<KubeClient, 'collection' | 'server'>,
  kinds: readonly ResourceType<KubeObject>[],
  role: string,
): Promise<void> {
  try {
    for (const kind of kinds) await client.collection(kind).listPage({ limit: 1 });
  } catch (error) {
    if (isUnauthorized(error)) {
      throw new CliError(
        `the API server at ${client.server} does not accept the credentials (401): they may have expired; renew the kubeconfig`,
        { cause: error },
      );
    }
    if (isForbidden(error)) {
      throw new CliError(
        `the API server at ${client.server} forbids what is needed: ${error.message}; bind the user to the ClusterRole in ${role}`,
        { cause: error },
      );
    }
    throw error;
  }
}
