import type { HostSpec } from '../crds/host.ts';
import { RUNNERS } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import { quantityBytes } from '../crds/scalars.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../kube/clock.ts';
import { EVENTS, EventRecorder } from '../kube/events.ts';
import { Informer } from '../kube/informer.ts';
import type { Logger } from '../kube/log.ts';
import type { Stored } from '../kube/object.ts';
import { WorkQueue } from '../kube/queue.ts';
import type { GuestLink } from './guest-link/server.ts';
import type { HostRoot } from './host/host-root.ts';
import { registerHostMetrics } from './host/metrics.ts';
import { type HostSessionOptions, openHostSession } from './host/open.ts';
import type { HostSession } from './host/session.ts';
import { DaemonMetrics } from './metrics.ts';
import { runnerApi } from './runner/api.ts';
import { BY_UID, RunnerController } from './runner/controller.ts';
import type {
  Bundles,
  GuestAccess,
  HostView,
  RunnerApi,
  RunnerEvents,
  RunnerPorts,
  VmRuntime,
  VmSecrets,
} from './runner/ports.ts';
import { type RunnerState, runnerState, type StateFile } from './state-file.ts';

/** All that a daemon finds on its machine and reaches besides the API server. It outlives the daemon. */
export interface DaemonMachine extends Pick<HostSessionOptions, 'driver' | 'machine' | 'disk' | 'bootId'> {
  readonly root: Pick<HostRoot, 'path' | 'machineId'>;
  readonly bundles: Bundles;
  readonly runtime: VmRuntime;
  readonly secrets: VmSecrets;
  readonly guestLink: Pick<GuestLink, 'port' | 'expect' | 'forget' | 'counts'>;
  guests(api: RunnerApi): GuestAccess;
  /** Tells tools on the machine how its Runners are. */
  stateFile(state: () => RunnerState): Pick<StateFile, 'changed' | 'stop'>;
}

export interface DaemonOptions {
  /** The caller's: it is not closed here. */
  readonly client: KubeClient;
  readonly hostName?: string | undefined;
  /** For a host object that does not exist yet. */
  readonly maxRunners?: number | undefined;
  readonly cpuOvercommit?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly version: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Ends the start, which may wait for long. Of no effect afterwards. */
  readonly signal?: AbortSignal | undefined;
  /** For tests: other terms of the host's Lease. */
  readonly lease?: HostSessionOptions['lease'];
}

export interface Daemon {
  readonly session: HostSession;
  readonly metrics: DaemonMetrics;
}

const EVENTS_DEADLINE_MS = 2_000;

/** Adds a step to what ends the daemon; the last one added is the first taken. */
export type OnStop = (step: () => Promise<unknown>) => void;

interface Runners {
  readonly informer: Informer<Runner, typeof BY_UID>;
  readonly controller: RunnerController;
}

/**
 * Registers the machine as a host and runs the VMs of the Runners that are bound to it. Rejects where it cannot;
 * the steps that were handed to `onStop` by then, and after, end what was begun.
 */
export async function startDaemon(
  options: DaemonOptions,
  machine: DaemonMachine,
  onStop: OnStop,
): Promise<Daemon> {
  const { client, log, clock } = options;
  const session = await openHostSession({
    root: machine.root,
    client,
    clock,
    log,
    signal: options.signal,
    name: options.hostName,
    driver: machine.driver,
    machine: machine.machine,
    disk: machine.disk,
    bootId: machine.bootId,
    daemonVersion: options.version,
    heldUids: await heldUids(machine.bundles, log),
    lease: options.lease,
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
  const { bundles, runtime, secrets, guestLink } = machine;
  const api = runnerApi(client);
  const ports: RunnerPorts = {
    ...{ api, bundles, runtime, secrets, guestLink, clock, log },
    host: viewOf(session),
    guests: machine.guests(api),
    events: recording(recorder),
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
  const runners = await runRunners(options, machine, { session, ports, metrics }, onStop);
  return { session, metrics };
}

/** Host objects that bundles on this machine were made for. A bundle that cannot be read speaks for none. */
async function heldUids(bundles: Bundles, log: Logger): Promise<Set<string>> {
  const uids = new Set<string>();
  for (const paths of (await bundles.list()).bundles) {
    const view = await bundles.view(paths).catch((error: unknown) => {
      log.warn({ err: error, bundle: paths.dir }, 'the bundle cannot be read');
    });
    if (view?.metadata.state === 'present') uids.add(view.metadata.metadata.identity.hostUid);
  }
  return uids;
}

const initialSpec = ({ maxRunners, cpuOvercommit }: DaemonOptions): HostSpec => ({
  ...(maxRunners === undefined ? {} : { maxRunners }),
  ...(cpuOvercommit === undefined ? {} : { cpuOvercommit }),
});

const viewOf = (session: HostSession): HostView => ({
  name: session.name,
  uid: () => session.uid(),
  state: () => session.state(),
  leaseFresh: () => session.leaseFresh(),
  allocatable: () => {
    const { cpu, memory, disk, runners } = session.allocatable();
    return { cpu, memoryBytes: quantityBytes(memory), diskBytes: quantityBytes(disk), runners };
  },
  templates: () => session.templates(),
  needsReboot: (why) => session.needsReboot(why),
});

const recording = (recorder: EventRecorder): RunnerEvents => ({
  normal: (runner, reason, note) => recorder.record(runner, { type: 'Normal', reason, note }),
  warning: (runner, reason, note) => recorder.record(runner, { type: 'Warning', reason, note }),
});

/** Follows the Runners that name this host, and tells the host session when nothing is left of its UID. */
async function runRunners(
  options: DaemonOptions,
  machine: Pick<DaemonMachine, 'stateFile'>,
  { session, ports, metrics }: Daemon & { readonly ports: RunnerPorts },
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
  const stateFile = machine.stateFile(() => runnerState(session.name, informer.store.list()));
  onStop(() => stateFile.stop());
  const confirming = new WorkQueue({
    clock,
    concurrency: 1,
    backoff: { baseMs: 200, maxMs: 15_000 },
    handle: () => confirmPurged(session, controller),
    onError: (_key, error) => log.warn({ err: error }, 'cannot see yet whether all of a host is purged'),
  });
  onStop(() => confirming.shutdown());
  const onChange = (): void => {
    stateFile.changed();
    if (session.state() !== 'live') confirming.add(session.uid());
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
  confirming.start();
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

/**
 * A host object that is to go, or is gone, waits for the last bundle of its UID. Throws where the directory cannot be read:
 * that is not an empty one, and nobody tells when it can be again.
 */
async function confirmPurged(session: HostSession, controller: RunnerController): Promise<undefined> {
  if (session.state() === 'live') return undefined;
  const uid = session.uid();
  if (await controller.isEmpty()) session.confirmPurged(uid);
  return undefined;
}
