/** A node daemon that can be killed at each of its side effects; its VMs are real processes. See child.ts. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DaemonMachine } from '../../node-daemon/daemon.ts';
import { startNodeDaemon } from '../../node-daemon/main.ts';
import type { GuestAccess, MadeSecrets, VmSecrets } from '../../node-daemon/runner/ports.ts';
import type { VmBackend } from '../../node-daemon/vm/backend.ts';
import { BundleStore } from '../../node-daemon/vm/bundle.ts';
import { type VmDriver, VmError } from '../../node-daemon/vm/driver.ts';
import { ProcessDriver } from '../../node-daemon/vm/fake/process-driver.ts';
import { systemProcesses } from '../../node-daemon/vm/process.ts';
import { systemProcessTable } from '../../node-daemon/vm/process-table.ts';
import type { Boundary } from './boundary.ts';
import { type ChildOptions, runChild } from './child.ts';
import { failureFile } from './failure.ts';
import { processGuests } from './guests.ts';

export interface DaemonProgramOptions extends ChildOptions {
  readonly hostRoot: string;
  readonly hostName: string;
  readonly subnet: string;
  /** What the machine's boot is called; a reboot changes it. Default: as it is. */
  readonly bootId?: string | undefined;
  readonly lease?: { readonly durationMs: number; readonly renewEveryMs: number } | undefined;
}

function backendOf(options: DaemonProgramOptions, boundary: Boundary, root: string): VmBackend {
  const { bootId, subnet } = options;
  const table = systemProcessTable();
  const machine = bootId === undefined ? table : { ...table, bootId: async () => bootId };
  const bundles = boundary.wrap('bundles', new BundleStore(root), ['paths', 'list', 'view']);
  const processes = boundary.wrap('processes', systemProcesses(machine), ['find', 'waitGone']);
  const driver = new ProcessDriver({ bundles, processes, subnet, leashPid: process.ppid });
  const looks = ['probe', 'command', 'connect', 'explainExit'] as const;
  return { bundles, processes, driver: boundary.wrap('driver', failingOnce(driver, root), looks) };
}

/** The next clone fails where there is a file that says so. */
const failingOnce = (driver: VmDriver, root: string): VmDriver =>
  new Proxy(driver, {
    get: (object, property) => {
      const value: unknown = Reflect.get(object, property);
      if (typeof value !== 'function') return value;
      if (property !== 'prepare') return value.bind(object);
      return async (...args: unknown[]) => {
        const fails = await rm(failureFile(root)).then(
          () => true,
          () => false,
        );
        if (fails) throw new VmError('CloneFailed', 'the clone fails this once');
        return await value.apply(object, args);
      };
    },
  });

/** `bundles` and `runtime` are made of parts that go through the boundary already. */
const through =
  (boundary: Boundary) =>
  (machine: DaemonMachine): DaemonMachine => ({
    ...machine,
    secrets: secretsThrough(boundary, machine.secrets),
    guests: (api) => guestsThrough(boundary, machine.guests(api)),
  });

function secretsThrough(boundary: Boundary, secrets: VmSecrets): VmSecrets {
  const { make, token } = boundary.wrap('secrets', secrets, ['token']);
  return {
    token,
    make: async (...args): Promise<MadeSecrets> => boundary.wrap('secrets', await make(...args), []),
  };
}

function guestsThrough(boundary: Boundary, guests: GuestAccess): GuestAccess {
  const { login, status } = boundary.wrap('guests', guests, ['status']);
  const looks = ['closed', 'close', 'observeScript', 'watchScript', 'outputTail'] as const;
  return {
    status,
    login: async (...args) => {
      const result = await login(...args);
      if (result.state !== 'connected') return result;
      return { ...result, session: boundary.wrap('guest', result.session, looks) };
    },
  };
}

await runChild<DaemonProgramOptions>('node-daemon', async (options, { boundary, client, log }) => {
  const { hostRoot, hostName, lease } = options;
  const daemon = await startNodeDaemon({
    client,
    hostRoot,
    hostName,
    lease,
    driver: 'qemu',
    labels: { 'chaos.test/host': hostName },
    backend: (root) => backendOf(options, boundary, root),
    guests: processGuests,
    through: through(boundary),
    guestLinkPort: 0,
    stateFile: join(hostRoot, 'runner-state.json'),
    version: '0.0.0',
    log,
  });
  return () => daemon.stop();
});
