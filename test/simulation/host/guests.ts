import type { GuestStatus } from '../../../guest/protocol.ts';
import type {
  Guest,
  GuestAccess,
  GuestSession,
  LoginOptions,
  LoginResult,
} from '../../../node-daemon/runner/ports.ts';
import type { ScriptState } from '../../../node-daemon/ssh/script.ts';
import type { Life } from '../life.ts';
import type { SimHost } from './host.ts';
import type { SimVm } from './vm.ts';

const CALL_TIMEOUT_MS = 30_000;
const STATUS_TIMEOUT_MS = 5_000;
/** How long a command in the guest waits for the script's end before it is asked anew. */
const WATCH_MS = 60_000;

/** How one daemon's life reaches the guests of its host. */
export const guestAccessOf = (host: SimHost, life: Life): GuestAccess => ({
  login: (guest, options) => logIn(host, life, guest, options),
  status: async (agent, token, signal) => {
    await life.takes(life.random.int(1, 8));
    signal.throwIfAborted();
    const vm = host.vmAt(agent.host, agent.port);
    if (vm === undefined || !vm.answers || vm.seed === undefined) {
      await life.takes(vm === undefined ? 1 : STATUS_TIMEOUT_MS);
      throw new Error('the agent does not answer');
    }
    if (vm.seed.token !== token) throw new Error('the agent does not know the token');
    return statusOf(vm);
  },
});

const statusOf = (vm: SimVm): GuestStatus => ({
  version: '0',
  hostname: 'guest',
  uid: vm.seed?.uid ?? '',
  attempt: vm.seed?.attempt ?? 0,
  bootId: vm.process.startTime,
  uptimeSeconds: 1,
  mac: vm.prepared.endpoints.mac,
  ip: vm.prepared.endpoints.guestIp ?? '',
  state: vm.agent,
});

async function logIn(
  host: SimHost,
  life: Life,
  { paths, prepared, guest }: Guest,
  { timeoutMs, nudge, signal }: LoginOptions,
): Promise<LoginResult> {
  const deadline = life.clock.monotonic() + timeoutMs;
  const files = host.disk.files(paths);
  if (!files?.has('id_ed25519')) return { state: 'failed', message: 'the private key cannot be read' };
  const { ssh } = prepared.endpoints;
  for (;;) {
    const vm = host.vmAt(ssh.host, ssh.port);
    if (vm?.answers) {
      await life.takes(life.random.int(5, 60));
      signal.throwIfAborted();
      if (guest.agent && vm.seed?.hostKey !== guest.hostKey) {
        return { state: 'refused', message: 'the guest has another host key' };
      }
      if (vm.answers) return { state: 'connected', session: sessionWith(host, life, vm) };
    }
    const leftMs = deadline - life.clock.monotonic();
    if (leftMs <= 0) return { state: 'failed', message: 'nothing answered' };
    await pause(life, Math.min(leftMs, 1_000), nudge, signal);
    signal.throwIfAborted();
  }
}

/** Ends early where the guest says that its SSH server serves, or where it was called off. */
async function pause(
  life: Life,
  ms: number,
  nudge: LoginOptions['nudge'],
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = life.clock.setTimeout(resolve, ms);
  const unsubscribe = nudge(resolve);
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
  timer.cancel();
  unsubscribe();
}

function sessionWith(host: SimHost, life: Life, vm: SimVm): GuestSession {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  let open = true;
  const close = (): void => {
    open = false;
    unsubscribe();
    resolve();
  };
  const { resets } = vm;
  const unsubscribe = vm.onChange(() => {
    if ((!vm.isAlive || vm.resets !== resets) && !life.isDead) close();
  });
  const call = async (signal: AbortSignal): Promise<void> => {
    await life.takes(life.random.int(2, 20));
    signal.throwIfAborted();
    if (open && vm.isHung) await pause(life, CALL_TIMEOUT_MS, () => () => undefined, signal);
    signal.throwIfAborted();
    if (!open || !vm.answers) throw new Error('the SSH connection has ended');
  };
  return {
    hostKey: vm.seed?.hostKey ?? 'ssh-ed25519 AAAAtemplate',
    closed,
    close,
    startScript: async (script, signal) => {
      await call(signal);
      return await startScript(host, life, vm, script);
    },
    observeScript: async (signal) => {
      await call(signal);
      return vm.script;
    },
    outputTail: async (signal) => {
      await call(signal);
      return vm.output.slice(-4096);
    },
    watchScript: async (signal) => {
      await call(signal);
      return await scriptEnd(life, vm, signal);
    },
  };
}

/** As in a real guest: the upload is a step of its own, and the script is begun once at most. */
async function startScript(
  host: SimHost,
  life: Life,
  vm: SimVm,
  script: string,
): Promise<'started' | 'alreadyStarted'> {
  host.world.scriptGiven(vm.identity);
  if (vm.script.state !== 'absent' && vm.script.state !== 'incomplete') return 'alreadyStarted';
  await life.effect('send the setup script', () => {
    vm.script = { state: 'incomplete' };
  });
  await life.takes(life.random.int(1, 10));
  if (!vm.answers) throw new Error('the SSH connection has ended');
  await life.effect('start the setup script', () => host.guestRuns(vm, script));
  return 'started';
}

async function scriptEnd(
  life: Life,
  vm: SimVm,
  signal: AbortSignal,
): Promise<Exclude<ScriptState, { state: 'running' }>> {
  const { resets } = vm;
  while (vm.script.state === 'running') {
    await pause(life, WATCH_MS, (wake) => vm.onChange(wake), signal);
    await life.takes(1);
    signal.throwIfAborted();
    if (!vm.answers || vm.resets !== resets) throw new Error('the SSH connection has ended');
  }
  return vm.script;
}
