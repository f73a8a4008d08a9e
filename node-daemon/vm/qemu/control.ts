import type { BundlePaths, VmControl, VmIdentity, VmRunState } from '../driver.ts';
import type { VmProcesses } from '../process.ts';
import { QmpClient, type QmpEvent } from './qmp.ts';

const CONNECT_LIMIT_MS = 4_000;
const KILL_LIMIT_MS = 15_000;

/** The guest name that a QEMU process answers `query-name` with: the VM's whole identity. */
export function guestName({ uid, attempt, hostUid }: VmIdentity): string {
  return `${uid}.${attempt}.${hostUid}`;
}

/** Connects to a VM's QEMU. Rejects where the socket is dead or another VM is behind it. */
export async function connectQemu(
  bundle: BundlePaths,
  identity: VmIdentity,
  processes: Pick<VmProcesses, 'killAndWait'>,
): Promise<VmControl> {
  const qmp = await QmpClient.connect(bundle.controlSocket, CONNECT_LIMIT_MS);
  try {
    const name = field(await qmp.execute('query-name', {}, 1_000), 'name');
    if (name !== guestName(identity)) {
      throw new Error(`the control socket belongs to ${String(name)}, not to ${guestName(identity)}`);
    }
  } catch (error) {
    qmp.close();
    throw error;
  }
  return {
    state: async () => runState(field(await qmp.execute('query-status'), 'status')),
    stop: async () => {
      await qmp.execute('system_powerdown');
    },
    kill: () => kill(qmp, bundle, processes),
    close: () => qmp.close(),
    onStateChange: (listener) =>
      qmp.onEvent((event) => {
        const state = stateAfter(event);
        if (state !== undefined) listener(state);
      }),
    closed: qmp.closed,
  };
}

/** A QEMU that does not obey `quit` is killed. */
async function kill(
  qmp: QmpClient,
  bundle: BundlePaths,
  processes: Pick<VmProcesses, 'killAndWait'>,
): Promise<void> {
  try {
    await qmp.execute('quit');
  } catch {
    await processes.killAndWait(bundle, KILL_LIMIT_MS);
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** QEMU's RunState, as of 7.2 to 10. `io-error`: the host's volume is full, or its disk fails. */
export function runState(status: unknown): VmRunState {
  switch (status) {
    case 'running':
      return 'running';
    case 'prelaunch':
    case 'inmigrate':
    case 'restore-vm':
      return 'starting';
    case 'shutdown':
    case 'internal-error':
    case 'guest-panicked':
      return 'stopped';
    default:
      return 'paused';
  }
}

function stateAfter(event: QmpEvent): VmRunState | undefined {
  switch (event.name) {
    case 'STOP':
    case 'SUSPEND':
      return 'paused';
    case 'RESUME':
    case 'WAKEUP':
      return 'running';
    case 'SHUTDOWN':
    case 'GUEST_PANICKED':
      return 'stopped';
    default:
      return undefined;
  }
}
