import { randomBytes } from 'node:crypto';
import { type Identity, makeIdentity } from '../../node-daemon/seed/identity.ts';
import { writeSeedDisk } from '../../node-daemon/seed/seed-disk.ts';
import type { SshTarget } from '../../node-daemon/ssh/session.ts';
import type { BundlePaths, PreparedVm, VmControl } from '../../node-daemon/vm/driver.ts';
import { startVm } from '../../node-daemon/vm/start.ts';
import { createBundle, type QemuMachine } from './vm-qemu-machine.ts';

/** A VM with an identity of its own, prepared and not yet started. */
export interface IdentifiedGuest {
  readonly bundle: BundlePaths;
  readonly prepared: PreparedVm;
  readonly identity: Identity;
  readonly token: string;
  /** As the driver tells where it is. */
  readonly target: SshTarget;
}

/** `notifyPort`: of the guest link that the guest reports to. */
export async function createIdentifiedGuest(
  machine: QemuMachine,
  hostname: string,
  notifyPort: number,
): Promise<IdentifiedGuest> {
  const { bundle, spec } = await createBundle(machine, true);
  const { driver } = machine.backend;
  const prepared = await driver.prepare(bundle, { ...spec, notifyPort }, new AbortController().signal);
  const identity = makeIdentity();
  const token = randomBytes(32).toString('hex');
  const { notifyUrl, ssh } = prepared.endpoints;
  const { uid, attempt } = spec.identity;
  await writeSeedDisk(bundle.seed, {
    config: { version: 1, hostname, user: 'runner', token, notifyUrl, agentPort: 8080, uid, attempt },
    hostKey: identity.hostKey,
    authorizedKeys: `${identity.runnerKey.publicKey}\n`,
  });
  const { privateKey } = identity.runnerKey;
  const target = { ...ssh, user: 'runner', privateKey, hostKey: identity.hostKey.publicKey };
  return { bundle, prepared, identity, token, target };
}

/** Starts it, and returns when its process answers; its guest has hardly begun to boot then. */
export async function startIdentifiedGuest(
  { backend }: QemuMachine,
  guest: Pick<IdentifiedGuest, 'bundle' | 'prepared'>,
): Promise<VmControl> {
  const { control } = await startVm(backend, guest.bundle, guest.prepared, Date.now);
  return control;
}

export const RUN = { timeoutMs: 60_000, maxOutputBytes: 64 * 1024 };
