import { join } from 'node:path';
import { ControlPlaneError, oneLine } from './error.ts';
import { makePrivateDirectory } from './files.ts';

/** What a data directory holds. */
export interface Layout {
  readonly root: string;
  /** Working directory of both programs: etcd's data and its sockets. */
  readonly etcd: string;
  readonly logs: string;
  readonly pki: string;
  readonly kubeconfig: string;
  /** The running processes, for the next start. */
  readonly processes: string;
  readonly lock: string;
  readonly auditPolicy: string;
  /** Address and port of the last start: kubeconfigs that were handed out stay good. */
  readonly endpoint: string;
}

export const layoutOf = (root: string): Layout => ({
  root,
  etcd: join(root, 'etcd'),
  logs: join(root, 'logs'),
  pki: join(root, 'pki'),
  kubeconfig: join(root, 'kubeconfig'),
  processes: join(root, 'processes.json'),
  lock: join(root, 'lock'),
  auditPolicy: join(root, 'audit-policy.yaml'),
  endpoint: join(root, 'endpoint'),
});

/** Rejects with BadDataDir. */
export async function makeDirectories(layout: Layout): Promise<void> {
  try {
    for (const directory of [layout.root, layout.etcd, layout.logs]) await makePrivateDirectory(directory);
  } catch (error) {
    const message = `data directory: ${layout.root} cannot be used (${oneLine(error)}); choose a directory that you may write to`;
    throw new ControlPlaneError('BadDataDir', message, { cause: error });
  }
}
