import { ExplainedError } from '../../kube/explained-error.ts';
import { checkHostRoot } from '../vm/host-root.ts';
import { loadMachineId } from './machine-id.ts';
import { lockRoot } from './root-lock.ts';

/** A host root that this process owns. */
export interface HostRoot {
  /** Without symbolic links. */
  readonly path: string;
  /** UUID of the machine that this root makes. */
  readonly machineId: string;
  /** Lets another daemon have it. Idempotent. */
  release(): Promise<void>;
}

/**
 * Makes a host root where it is missing and takes possession of it, before anything in it is looked at. Rejects
 * with one line for a person: {@link HostRootError} where VMs cannot be kept there, RootLockedError where
 * another daemon has it, MachineIdError where its identity is damaged.
 */
export async function openHostRoot(directory: string): Promise<HostRoot> {
  const check = await checkHostRoot(directory);
  if (!check.ok) throw new HostRootError(`--host-root: ${check.problem}`);
  const path = check.root;
  const lock = await lockRoot(path);
  try {
    return { path, machineId: await loadMachineId(path), release: () => lock.release() };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** VMs cannot be kept in the directory. The message is one line that names the flag. */
export class HostRootError extends ExplainedError {
  constructor(message: string) {
    super(message);
    this.name = 'HostRootError';
  }
}
