import type { HostKind } from '../crds/host.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import { serveHttp } from '../kube/http-endpoint.ts';
import { type DaemonMachine, type DaemonOptions, type OnStop, startDaemon } from './daemon.ts';
import { openHostRoot } from './host/host-root.ts';
import type { HostSession } from './host/session.ts';
import type { DaemonMetrics } from './metrics.ts';
import { openGuestLink } from './open-guest-link.ts';
import { guestAccess } from './runner/guest-access.ts';
import type { GuestAccess } from './runner/ports.ts';
import { vmRuntime } from './runner/vm-runtime.ts';
import { bundleSecrets } from './runner/vm-secrets.ts';
import { StateFile } from './state-file.ts';
import type { VmBackend } from './vm/backend.ts';
import { BundleStore } from './vm/bundle.ts';
import { systemProcesses } from './vm/process.ts';
import { QemuDriver } from './vm/qemu/driver.ts';

export interface NodeDaemonOptions extends Omit<DaemonOptions, 'clock'> {
  readonly hostRoot: string;
  readonly driver: 'qemu';
  /** 0: any free one, and the same at the next start where it is free then. */
  readonly guestLinkPort: number;
  readonly stateFile: string;
  /** Where /metrics, /healthz and /readyz are served. Absent: nowhere. */
  readonly http?: { readonly host: string; readonly port: number } | undefined;
  readonly clock?: Clock | undefined;
  /**
   * Ends the start, which may wait for a dead machine's Lease to run out, or for an API server that went away
   * meanwhile. Of no effect afterwards.
   */
  readonly signal?: AbortSignal | undefined;
  /** For tests: other VMs than the driver's, on the root that is given, and guests that are not reached by SSH. */
  readonly backend?: ((root: string) => VmBackend) | undefined;
  readonly guests?: GuestAccess | undefined;
  /** For tests: stands between the daemon and all that it touches of its machine. */
  readonly through?: ((machine: DaemonMachine) => DaemonMachine) | undefined;
}

export interface NodeDaemon {
  readonly hostName: string;
  readonly hostKind: HostKind;
  readonly hostRoot: string;
  readonly httpPort: number | undefined;
  /** Lets go of everything but the VMs, which run on. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Registers this machine as a host and runs the VMs of the Runners that are bound to it, adopting those that
 * run. Rejects, with nothing left running but VMs, where it cannot: one line for a person.
 */
export async function startNodeDaemon(options: NodeDaemonOptions): Promise<NodeDaemon> {
  const undo: (() => Promise<unknown>)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= undoAll(undo);
    return stopping;
  };
  try {
    return { ...(await start(options, (step) => undo.push(step))), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The last first. A step that fails keeps none of the others from being taken; the first failure is told. */
async function undoAll(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps.toReversed()) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

async function start(options: NodeDaemonOptions, onStop: OnStop): Promise<Omit<NodeDaemon, 'stop'>> {
  const clock = options.clock ?? systemClock;
  const machine = await openMachine(options, clock, onStop);
  const reached = options.through?.(machine) ?? machine;
  const { session, metrics } = await startDaemon({ ...options, clock }, reached, onStop);
  const httpPort = await serve(options.http, session, metrics, onStop);
  return { hostName: session.name, hostKind: session.kind, hostRoot: machine.root.path, httpPort };
}

/** Takes possession of this machine's host root. */
async function openMachine(options: NodeDaemonOptions, clock: Clock, onStop: OnStop): Promise<DaemonMachine> {
  const { log } = options;
  const root = await openHostRoot(options.hostRoot);
  onStop(() => root.release());
  const backend = (options.backend ?? qemuBackend)(root.path);
  const guestLink = await openGuestLink({ root: root.path, port: options.guestLinkPort, log });
  onStop(() => guestLink.close());
  return {
    root,
    driver: backend.driver,
    bootId: () => backend.processes.bootId(),
    bundles: backend.bundles,
    runtime: vmRuntime(backend),
    secrets: bundleSecrets,
    guestLink,
    guests: (api) => options.guests ?? guestAccess({ api, clock }),
    stateFile: (state) => new StateFile({ path: options.stateFile, clock, log, state }),
  };
}

function qemuBackend(root: string): VmBackend {
  const bundles = new BundleStore(root);
  const processes = systemProcesses();
  return { bundles, processes, driver: new QemuDriver({ bundles, processes }) };
}

async function serve(
  http: NodeDaemonOptions['http'],
  session: HostSession,
  { registry }: DaemonMetrics,
  onStop: OnStop,
): Promise<number | undefined> {
  if (http === undefined) return undefined;
  const endpoint = await serveHttp({
    ...http,
    metrics: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
    notReady: () => session.unready(),
  });
  onStop(() => endpoint.close());
  return endpoint.port;
}
