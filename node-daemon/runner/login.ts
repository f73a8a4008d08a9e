import { readFile } from 'node:fs/promises';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { rotateLogin } from '../ssh/agentless.ts';
import { SshError } from '../ssh/errors.ts';
import type { SshSession, SshTarget } from '../ssh/session.ts';
import { waitForSsh } from '../ssh/wait.ts';
import type { BundlePaths, PreparedVm } from '../vm/driver.ts';
import type { GuestMetadata } from '../vm/metadata.ts';
import type { RunnerPorts } from './ports.ts';

/** Who is to be reached, as the bundle's metadata tells. */
export interface Guest {
  readonly paths: BundlePaths;
  readonly prepared: PreparedVm;
  readonly guest: GuestMetadata;
}

/** Calls back when the guest says that its SSH server serves. Returns the way out. */
export type Nudge = (listener: () => void) => () => void;

export type LoginResult =
  | { readonly state: 'connected'; readonly session: SshSession }
  /** Nothing that time mends: the guest's key is another, or it refuses ours. */
  | { readonly state: 'refused'; readonly message: string }
  | { readonly state: 'timeout' };

/**
 * Waits until an authenticated SSH command exits 0 in the guest, and returns the session it ran in. A guest
 * with the agent has the Runner's own keys from its seed disk; one without is reached with the template's
 * key, which is replaced at once by the Runner's. Rejects only when aborted.
 */
export async function login(
  ports: RunnerPorts,
  target: Guest,
  timeoutMs: number,
  nudge: Nudge,
  signal: AbortSignal,
): Promise<LoginResult> {
  try {
    const own = await ownTarget(target);
    if (target.guest.agent || target.guest.rotated === true) {
      return { state: 'connected', session: await waitForSsh(own, { timeoutMs, nudge, signal }) };
    }
    // A daemon that died between rotating and recording it finds that only the Runner's own key is let in.
    const fallbackKey = await templateKey(ports, target);
    const session = await waitForSsh({ ...own, fallbackKey }, { timeoutMs, nudge, signal });
    return { state: 'connected', session: await rotateLogin(session, own, { signal }) };
  } catch (error) {
    signal.throwIfAborted();
    return failed(error);
  }
}

function failed(error: unknown): LoginResult {
  if (!(error instanceof SshError)) {
    return { state: 'refused', message: error instanceof Error ? error.message : String(error) };
  }
  const final = error.kind === 'auth' || error.kind === 'hostKey';
  return final ? { state: 'refused', message: error.message } : { state: 'timeout' };
}

async function ownTarget({ paths, prepared, guest }: Guest): Promise<SshTarget> {
  const { host, port } = prepared.endpoints.ssh;
  const privateKey = await readFile(paths.privateKey, 'utf8');
  return { host, port, user: guest.user, privateKey, hostKey: guest.hostKey };
}

async function templateKey(ports: RunnerPorts, { prepared, guest }: Guest): Promise<string> {
  const ref = guest.privateKeySecretRef;
  if (ref === undefined) return await readFile(`${prepared.spec.templateDir}/id_ed25519`, 'utf8');
  const value = await ports.api.readSecret(SYSTEM_NAMESPACE, ref.name, ref.key);
  if (value !== undefined) return value;
  throw new Error(
    `the Secret ${SYSTEM_NAMESPACE}/${ref.name} with the key ${ref.key}, which the Template names, is missing`,
  );
}
