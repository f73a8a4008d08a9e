import { LINUX_HOSTS, MAC_HOSTS, RUNNERS } from '../crds/resources.ts';
import type { KubeClient } from '../kube/client.ts';
import { isForbidden, isUnauthorized } from '../kube/errors.ts';
import { CliError } from './failure.ts';

/**
 * Whether the API server lets a node daemon in and serves its kinds: reads one of each. Asked before anything is made
 * on this machine. Rejects with one line.
 */
export async function requireDaemonApi(client: Pick<KubeClient, 'collection' | 'server'>): Promise<void> {
  const server = `the API server at ${client.server}`;
  try {
    for (const kind of [RUNNERS, LINUX_HOSTS, MAC_HOSTS])
      await client.collection(kind).listPage({ limit: 1 });
  } catch (error) {
    if (isUnauthorized(error)) {
      throw new CliError(
        `${server} does not accept the credentials (401): they may have expired; renew the kubeconfig`,
        { cause: error },
      );
    }
    if (isForbidden(error)) {
      throw new CliError(
        `${server} forbids what the node daemon needs: ${error.message}; bind its user to the ClusterRole in deploy/rbac/node-daemon.yaml`,
        { cause: error },
      );
    }
    throw error;
  }
}
