import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmBackend } from './backend.ts';
import { type BundlePaths, type PreparedVm, type VmControl, VmError } from './driver.ts';
import type { SpawnedVm } from './process.ts';

/** How long a VM's process may take to open its control socket. */
const SOCKET_DEADLINE_MS = 15_000;
const SOCKET_POLL_MS = 10;
const LOG_TAIL_BYTES = 4096;

export interface StartedVm {
  readonly control: VmControl;
  readonly startReturnedAt: number;
}

/**
 * Starts a prepared VM and waits until its process named its identity. `process` and `startReturnedAt` are in
 * the metadata then. Rejects with a {@link VmError} where the process ended or stayed silent; the bundle has to
 * be purged in that case. The caller has made sure that no VM of this bundle runs, and closes `control`.
 */
export async function startVm(
  backend: VmBackend,
  bundle: BundlePaths,
  prepared: PreparedVm,
  now: () => number,
  socketDeadlineMs: number = SOCKET_DEADLINE_MS,
): Promise<StartedVm> {
  const spawned = await spawn(backend, bundle, prepared);
  const startReturnedAt = now();
  if (spawned.identity === undefined) {
    await spawned.exited;
    throw backend.driver.explainExit(await logTail(bundle.log));
  }
  const recorded = backend.bundles.update(bundle, { process: spawned.identity, startReturnedAt });
  const deadline = performance.now() + socketDeadlineMs;
  const connected = firstConnection(backend, bundle, prepared, spawned, deadline);
  const [outcome] = await Promise.allSettled([recorded, connected]);
  const control = await connected;
  if (outcome.status === 'fulfilled') return { control, startReturnedAt };
  control.close();
  throw outcome.reason;
}

async function spawn(backend: VmBackend, bundle: BundlePaths, prepared: PreparedVm): Promise<SpawnedVm> {
  try {
    return await backend.processes.spawn(bundle, backend.driver.command(bundle, prepared));
  } catch (error) {
    throw new VmError('StartFailed', `cannot start the VM's process: ${messageOf(error)}`, { cause: error });
  }
}

async function firstConnection(
  { driver }: VmBackend,
  bundle: BundlePaths,
  prepared: PreparedVm,
  spawned: SpawnedVm,
  deadline: number,
): Promise<VmControl> {
  let over = false;
  const exited = spawned.exited.then(() => {
    over = true;
  });
  for (;;) {
    try {
      return await driver.connect(bundle, prepared.spec.identity);
    } catch (error) {
      if (over) throw driver.explainExit(await logTail(bundle.log));
      if (performance.now() > deadline) {
        const message = `the VM's process did not answer on its control socket: ${messageOf(error)}`;
        throw new VmError('StartFailed', message, { cause: error });
      }
    }
    await Promise.race([delay(SOCKET_POLL_MS), exited]);
  }
}

/** The end of a log; empty where there is none. */
export async function logTail(path: string, bytes: number = LOG_TAIL_BYTES): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const start = Math.max(0, size - bytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
