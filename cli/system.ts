import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type RunningController, runController } from '../controller/main.ts';
import { type KubeClient, loadKubeClient } from '../kube/client.ts';
import { hostNameFrom } from '../node-daemon/host/name.ts';
import { type NodeDaemon, startNodeDaemon } from '../node-daemon/main.ts';
import { listBundles } from '../node-daemon/vm/bundle.ts';
import { checkHostRoot } from '../node-daemon/vm/host-root.ts';
import { type ControlPlane, startControlPlane } from './control-plane/control-plane.ts';
import { installCrds } from './control-plane/crds.ts';
import { ControlPlaneError, type ControlPlaneErrorReason } from './control-plane/error.ts';
import { layoutOf, makeDirectories } from './control-plane/layout.ts';
import { recordProcesses } from './control-plane/process-record.ts';
import { CliError } from './failure.ts';
import { requireFreePort } from './free-port.ts';
import { asDataDir, asHostRoot, discardingOnFailure } from './fresh-directory.ts';
import { fileLogger } from './logging.ts';
import { type LastUp, recallUp, rememberUp } from './up-file.ts';
import { VERSION } from './version.ts';

export interface SystemOptions {
  readonly dataDir: string;
  /** Default: the one of the last start in this data directory, else `<dataDir>/host`. */
  readonly hostRoot?: string | undefined;
  /** Default: the one of the last start in this data directory, else from the machine's. */
  readonly hostName?: string | undefined;
  readonly apiPort?: number | undefined;
  readonly maxRunners?: number | undefined;
  readonly cpuOvercommit?: number | undefined;
  readonly guestLinkPort: number;
  readonly placement: 'spread' | 'pack';
  /** Of the controller. 0: none, as below. */
  readonly metricsPort: number;
  readonly daemonMetricsPort: number;
  readonly logLevel: string;
  /** Told of each step, for people. */
  readonly progress: (line: string) => void;
  /** Ends the start, which then rejects with its reason. */
  readonly signal: AbortSignal;
}

/** API server, controller and one node daemon on this machine. */
export interface System {
  readonly controlPlane: ControlPlane;
  /** The administrator's own client. */
  readonly client: KubeClient;
  readonly daemon: NodeDaemon;
  readonly logFile: string;
  /** Rejects when a part fails by itself. */
  readonly failed: Promise<never>;
  /** Node daemon, controller, API server, etcd, in this order. VMs run on. Idempotent. */
  stop(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';

/** The process that runs the system of a data directory, for who wants to stop it: `recordProcesses` writes it. */
export const ownerFile = (dataDir: string): string => join(dataDir, 'owner.json');

/**
 * Starts the parts in order. Where one cannot start, those before it are stopped again, and directories that were
 * not there before are gone: one line says why.
 */
export async function startSystem(options: SystemOptions): Promise<System> {
  const last = await recallUp(options.dataDir);
  const host: LastUp = {
    hostRoot: options.hostRoot ?? last?.hostRoot ?? join(options.dataDir, 'host'),
    hostName: options.hostName ?? last?.hostName ?? ownName(),
  };
  const directories = [asDataDir(options.dataDir, host.hostRoot), asHostRoot(host.hostRoot)];
  return await discardingOnFailure(directories, async () => {
    const undo: (() => Promise<unknown>)[] = [];
    let stopping: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopping ??= inReverse(undo);
      return stopping;
    };
    try {
      return { ...(await start(options, host, last, (step) => undo.push(step))), stop };
    } catch (error) {
      await stop();
      throw namingFlag(error);
    }
  });
}

async function start(
  options: SystemOptions,
  host: LastUp,
  last: LastUp | undefined,
  onStop: (step: () => Promise<unknown>) => void,
): Promise<Omit<System, 'stop'>> {
  const { dataDir, progress, signal } = options;
  const layout = layoutOf(dataDir);
  await makeDirectories(layout);
  await refuseOtherHost(host, last);
  const checked = await checkHostRoot(host.hostRoot);
  if (!checked.ok) throw new CliError(`--host-root: ${checked.problem}`);
  const logFile = join(layout.logs, 'shoes-vz.log');
  const log = fileLogger(options.logLevel, logFile);
  const controlPlane = await startControlPlane({ dataDir, port: options.apiPort, log: progress, signal });
  onStop(() => controlPlane.stop());
  const connect = (product: string): KubeClient => {
    const { kubeconfigPath } = controlPlane;
    const client = loadKubeClient({ kubeconfigPath, userAgent: `${product}/${VERSION}` });
    onStop(() => client.close());
    return client;
  };
  await requirePorts(options);
  const client = connect('shoes-vz');
  await installCrds(client);
  signal.throwIfAborted();
  const controller = await startController(connect('shoes-vz-controller'), options, log);
  onStop(() => controller.stop());
  await recordProcesses(ownerFile(dataDir), [{ name: 'shoes-vz', pid: process.pid }]);
  const daemon = await startDaemon(connect('shoes-vz-node-daemon'), options, host, last, log);
  onStop(() => daemon.stop());
  const failed = Promise.race([controlPlaneFailed(controlPlane), controller.failed]);
  failed.catch(() => undefined);
  return { controlPlane, client, daemon, logFile, failed };
}

function ownName(): string {
  const name = hostNameFrom(hostname());
  if (name !== undefined) return name;
  throw new CliError(`--host-name: this machine's own name, "${hostname()}", cannot be used; give one`);
}

/** Every step is taken, also after one that failed; the first failure is thrown. */
async function inReverse(undo: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of undo.toReversed()) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** VMs that the last start left running are known to its host alone: under another one they would be lost or destroyed. */
async function refuseOtherHost(host: LastUp, last: LastUp | undefined): Promise<void> {
  if (last === undefined || !existsSync(last.hostRoot)) return;
  const sameRoot = (await realpath(host.hostRoot).catch(() => undefined)) === (await realpath(last.hostRoot));
  if (sameRoot && host.hostName === last.hostName) return;
  if ((await listBundles(last.hostRoot)).bundles.length === 0) return;
  const flag = sameRoot ? '--host-name' : '--host-root';
  throw new CliError(
    `${flag}: there are VMs of the last up, whose host is ${last.hostName} in ${last.hostRoot}; leave out the flag, or run down first`,
  );
}

async function requirePorts(options: SystemOptions): Promise<void> {
  const ports = {
    '--guest-link-port': options.guestLinkPort,
    '--metrics-port': options.metricsPort,
    '--daemon-metrics-port': options.daemonMetricsPort,
  };
  for (const [flag, port] of Object.entries(ports)) await requireFreePort({ flag, host: LOOPBACK, port });
}

async function startController(
  client: KubeClient,
  options: SystemOptions,
  log: Logger,
): Promise<RunningController> {
  const controller = await runController({
    client,
    placement: options.placement,
    http: httpAt(options.metricsPort),
    log: log.child({ part: 'controller' }),
  });
  await controller.ready;
  return controller;
}

/** What `down` and the next start need is on disk before the first VM can be. */
async function startDaemon(
  client: KubeClient,
  options: SystemOptions,
  host: LastUp,
  last: LastUp | undefined,
  log: Logger,
): Promise<NodeDaemon> {
  const { dataDir } = options;
  await rememberUp(dataDir, host);
  try {
    const daemon = await startNodeDaemon({
      ...host,
      client,
      driver: 'qemu',
      maxRunners: options.maxRunners,
      cpuOvercommit: options.cpuOvercommit,
      guestLinkPort: options.guestLinkPort,
      stateFile: join(dataDir, 'run', 'runner-state.json'),
      http: httpAt(options.daemonMetricsPort),
      version: VERSION,
      log: log.child({ part: 'node-daemon' }),
      signal: options.signal,
    });
    await rememberUp(dataDir, { hostRoot: daemon.hostRoot, hostName: daemon.hostName });
    return daemon;
  } catch (error) {
    await rememberUp(dataDir, last);
    throw error;
  }
}

const httpAt = (port: number): { host: string; port: number } | undefined =>
  port === 0 ? undefined : { host: LOOPBACK, port };

async function controlPlaneFailed(controlPlane: ControlPlane): Promise<never> {
  const end = await controlPlane.exited;
  if (end.kind === 'failed') throw new CliError(end.message);
  return await new Promise<never>(() => {});
}

const FLAGS: Partial<Record<ControlPlaneErrorReason, string>> = {
  BadDataDir: '--data-dir',
  DataDirInUse: '--data-dir',
  PortTaken: '--api-port',
};

/** The control plane knows no flags. */
function namingFlag(error: unknown): unknown {
  const flag = error instanceof ControlPlaneError ? FLAGS[error.reason] : undefined;
  if (!(error instanceof ControlPlaneError) || flag === undefined) return error;
  return new CliError(`${flag}: ${error.message.replace(/^[a-z ]+: /, '')}`, { cause: error });
}
