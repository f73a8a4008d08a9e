import type { HostKind, HostSpec } from '../crds/host.ts';
import { RUNNERS } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import { EVENTS, EventRecorder } from '../kube/events.ts';
import { serveHttp } from '../kube/http-endpoint.ts';
import { Informer } from '../kube/informer.ts';
import type { Logger } from '../kube/log.ts';
import type { Stored } from '../kube/object.ts';
import { openHostRoot } from './host/host-root.ts';
import { registerHostMetrics } from './host/metrics.ts';
import { openHostSession } from './host/open.ts';
import type { HostSession } from './host/session.ts';
import { DaemonMetrics } from './metrics.ts';
import { openGuestLink } from './open-guest-link.ts';
import { runnerApi } from './runner/api.ts';
import { BY_UID, RunnerController } from './runner/controller.ts';
import { guestAccess } from './runner/guest-access.ts';
import type { GuestAccess, HostView, RunnerEvents, RunnerPorts } from './runner/ports.ts';
import { vmRuntime } from './runner/vm-runtime.ts';
import { bundleSecrets } from './runner/vm-secrets.ts';
import { runnerState, StateFile } from './state-file.ts';
import type { VmBackend } from './vm/backend.ts';
import { BundleStore } from './vm/bundle.ts';
import { systemProcesses } from './vm/process.ts';
import { QemuDriver } from './vm/qemu/driver.ts';

export interface NodeDaemonOptions {
  /** The caller's: it is not closed here. */
  readonly client: KubeClient;
  readonly hostRoot: string;
  readonly hostName?: string | undefined;
  readonly driver: 'qemu';
  /** For a host object that does not exist yet. */
  readonly maxRunners?: number | undefined;
  readonly cpuOvercommit?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** 0: any free one, and the same at the next start where it is free then. */
  readonly guestLinkPort: number;
  readonly stateFile: string;
  /** Where /metrics, /healthz and /readyz are served. Absent: nowhere. */
  readonly http?: { readonly host: string; readonly port: number } | undefined;
  readonly version: string;
  readonly log: Logger;
  readonly clock?: Clock | undefined;
  /**
   * Ends the start, which may wait for a dead machine's Lease to run out, or for an API server that went away
   * meanwhile. Of no effect afterwards.
   */
  readonly signal?: AbortSignal | undefined;
  /** For tests: other VMs than the driver's, on the root that is given, and guests that are not reached by SSH. */
  readonly backend?: ((root: string) => VmBackend) | undefined;
  readonly guests?: GuestAccess | undefined;
}

export interface NodeDaemon {
  readonly hostName: string;
  readonly hostKind: HostKind;
  readonly hostRoot: string;
  readonly httpPort: number | undefined;
  /** Lets go of everything but the VMs, which run on. Idempotent. */
  stop(): Promise<void>;
}

const EVENTS_DEADLINE_MS = 2_000;

type OnStop = (step: () => Promise<unknown>) => void;

interface Runners {
  readonly informer: Informer<Runner, typeof BY_UID>;
  readonly controller: RunnerController;
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
  const { client, log } = options;
  const clock = options.clock ?? systemClock;
  const root = await openHostRoot(options.hostRoot);
  onStop(() => root.release());
  const backend = (options.backend ?? qemuBackend)(root.path);
  const guestLink = await openGuestLink({ root: root.path, port: options.guestLinkPort, log });
  onStop(() => guestLink.close());
  const session = await openHostSession({
    root,
    client,
    clock,
    log,
    signal: options.signal,
    name: options.hostName,
    driver: backend.driver,
    daemonVersion: options.version,
    heldUids: await heldUids(backend.bundles, log),
    initial: { spec: initialSpec(options), labels: options.labels ?? {} },
  });
  onStop(() => session.stop());
  const recorder = new EventRecorder({
    resources: client.resources(EVENTS),
    reportingController: 'shoesvz.dev/node-daemon',
    reportingInstance: session.name,
    onDropped: (why) => log.warn({ why }, 'an Event was not recorded'),
    clock,
  });
  onStop(() => recorder.stop({ deadlineMs: EVENTS_DEADLINE_MS }));
  const api = runnerApi(client);
  const ports: RunnerPorts = {
    api,
    host: viewOf(session),
    bundles: backend.bundles,
    runtime: vmRuntime(backend),
    secrets: bundleSecrets,
    guests: options.guests ?? guestAccess({ api, clock }),
    guestLink,
    events: recording(recorder),
    clock,
    log,
  };
  const metrics: DaemonMetrics = new DaemonMetrics({
    leaseFresh: () => session.leaseFresh(),
    phases: () => runners.informer.store.list().map(({ status }) => status?.phase ?? 'Pending'),
    templates: () => ({
      sealed: session.listing().published.size,
      broken: session.listing().problems.size,
    }),
    queueDepth: () => runners.controller.queueDepth,
    guestReports: () => ({ ...guestLink.counts() }),
  });
  registerHostMetrics(metrics.registry, session);
  const runners = await runRunners(options, session, ports, metrics, onStop);
  const httpPort = await serve(options.http, session, metrics, onStop);
  return { hostName: session.name, hostKind: session.kind, hostRoot: root.path, httpPort };
}

function qemuBackend(root: string): VmBackend {
  const bundles = new BundleStore(root);
  const processes = systemProcesses();
  return { bundles, processes, driver: new QemuDriver({ bundles, processes }) };
}

/** Host objects that bundles on this machine were made for. A bundle that cannot be read speaks for none. */
async function heldUids(bundles: BundleStore, log: Logger): Promise<Set<string>> {
  const uids = new Set<string>();
  for (const paths of (await bundles.list()).bundles) {
    const view = await bundles.view(paths).catch((error: unknown) => {
      log.warn({ err: error, bundle: paths.dir }, 'the bundle cannot be read');
    });
    if (view?.metadata.state === 'present') uids.add(view.metadata.metadata.identity.hostUid);
  }
  return uids;
}

const initialSpec = ({ maxRunners, cpuOvercommit }: NodeDaemonOptions): HostSpec => ({
  ...(maxRunners === undefined ? {} : { maxRunners }),
  ...(cpuOvercommit === undefined ? {} : { cpuOvercommit }),
});

const viewOf = (session: HostSession): HostView => ({
  name: session.name,
  uid: () => session.uid(),
  state: () => session.state(),
  leaseFresh: () => session.leaseFresh(),
  templates: () => session.templates(),
});

const recording = (recorder: EventRecorder): RunnerEvents => ({
  normal: (runner, reason, note) => recorder.record(runner, { type: 'Normal', reason, note }),
  warning: (runner, reason, note) => recorder.record(runner, { type: 'Warning', reason, note }),
});

/** Follows the Runners that name this host, and tells the host session when nothing is left of its UID. */
async function runRunners(
  options: NodeDaemonOptions,
  session: HostSession,
  ports: RunnerPorts,
  metrics: DaemonMetrics,
  onStop: OnStop,
): Promise<Runners> {
  const { log, clock } = ports;
  const informer = new Informer<Runner, typeof BY_UID>({
    client: options.client,
    type: RUNNERS,
    clock,
    fieldSelector: `spec.binding.hostName=${session.name}`,
    indexes: { [BY_UID]: (runner: Stored<Runner>) => [runner.metadata.uid] },
    onProblem: ({ error, failures, retryInMs }) =>
      log.warn({ why: error.message, failures, retryInMs }, 'the watch of Runners was interrupted'),
  });
  onStop(() => informer.stop());
  const state = () => runnerState(session.name, informer.store.list());
  const stateFile = new StateFile({ path: options.stateFile, clock, log, state });
  onStop(() => stateFile.stop());
  const onChange = (): void => {
    stateFile.changed();
    void confirmPurged(session, controller);
  };
  const controller = new RunnerController({
    ports,
    informer,
    onChange,
    onFailure: () => metrics.reconcileFailed(),
  });
  onStop(() => controller.stop());
  const unsubscribe = session.onChange(
    whenNew(
      () => outlookOf(session),
      () => controller.wakeAll(),
      onChange,
    ),
  );
  onStop(async () => unsubscribe());
  informer.start();
  await unlessAborted(controller.start(), options.signal);
  onChange();
  return { informer, controller };
}

/** What of the host its Runners depend on. */
const outlookOf = (session: HostSession): string => {
  const templates = [...session.templates()].map(([name, { metadata }]) => `${name}@${metadata.digest}`);
  return [session.state(), session.uid(), session.leaseFresh(), ...templates].join(' ');
};

/** Calls `changed` where what is watched differs from the last time, and `always` every time. */
function whenNew(watched: () => string, changed: () => void, always: () => void): () => void {
  let last = watched();
  return () => {
    const now = watched();
    if (now !== last) changed();
    last = now;
    always();
  };
}

/** Waiting for the first list of Runners has no end of its own while the API server is away. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal?.reason);
  work.catch(() => undefined);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** A host object that is to go, or is gone, waits for the last bundle of its UID. */
async function confirmPurged(session: HostSession, controller: RunnerController): Promise<void> {
  if (session.state() === 'live') return;
  const uid = session.uid();
  // A directory that cannot be read is not an empty one.
  if (await controller.isEmpty().catch(() => false)) session.confirmPurged(uid);
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
