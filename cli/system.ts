import { join } from 'node:path';
import type { Logger } from 'pino';
import { type RunningController, runController } from '../controller/main.ts';
import { type KubeClient, loadKubeClient } from '../kube/client.ts';
import { type NodeDaemon, startNodeDaemon } from '../node-daemon/main.ts';
import { type ControlPlane, startControlPlane } from './control-plane/control-plane.ts';
import { installCrds } from './control-plane/crds.ts';
import { CliError } from './failure.ts';
import { VERSION } from './version.ts';

export interface SystemOptions {
  readonly dataDir: string;
  readonly hostRoot: string;
  readonly hostName?: string | undefined;
  readonly apiPort?: number | undefined;
  readonly maxRunners?: number | undefined;
  readonly cpuOvercommit?: number | undefined;
  readonly guestLinkPort: number;
  readonly placement: 'spread' | 'pack';
  readonly metricsPort: number;
  readonly daemonMetricsPort: number;
  readonly log: Logger;
  /** Told of each step, for people. */
  readonly progress: (line: string) => void;
}

/** API server, controller and one node daemon on this machine. */
export interface System {
  readonly controlPlane: ControlPlane;
  /** The administrator's own client. */
  readonly client: KubeClient;
  readonly daemon: NodeDaemon;
  /** Rejects when a part fails by itself. */
  readonly failed: Promise<never>;
  /** Node daemon, controller, API server, etcd, in this order. VMs run on. Idempotent. */
  stop(): Promise<void>;
}

/** Starts the parts in order; where one cannot start, those before it are stopped again. */
export async function startSystem(options: SystemOptions): Promise<System> {
  const { log, progress } = options;
  const undo: (() => Promise<unknown>)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const step of undo.reverse()) await step();
    })();
    return stopping;
  };
  try {
    const controlPlane = await startControlPlane({
      dataDir: options.dataDir,
      port: options.apiPort,
      log: progress,
    });
    undo.push(() => controlPlane.stop());
    const connect = (product: string): KubeClient => {
      const client = loadKubeClient({
        kubeconfigPath: controlPlane.kubeconfigPath,
        userAgent: `${product}/${VERSION}`,
      });
      undo.push(() => client.close());
      return client;
    };
    const client = connect('shoes-vz');
    await installCrds(client);
    const controller = await startController(connect('shoes-vz-controller'), options);
    undo.push(() => controller.stop());
    const daemon = await startNodeDaemon({
      client: connect('shoes-vz-node-daemon'),
      hostRoot: options.hostRoot,
      hostName: options.hostName,
      driver: 'qemu',
      maxRunners: options.maxRunners,
      cpuOvercommit: options.cpuOvercommit,
      guestLinkPort: options.guestLinkPort,
      stateFile: join(options.dataDir, 'run', 'runner-state.json'),
      http: httpAt(options.daemonMetricsPort),
      version: VERSION,
      log: log.child({ part: 'node-daemon' }),
    });
    undo.push(() => daemon.stop());
    const failed = controlPlaneFailed(controlPlane);
    failed.catch(() => undefined);
    return { controlPlane, client, daemon, failed, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startController(client: KubeClient, options: SystemOptions): Promise<RunningController> {
  const controller = await runController({
    client,
    placement: options.placement,
    http: httpAt(options.metricsPort),
    log: options.log.child({ part: 'controller' }),
  });
  await controller.ready;
  return controller;
}

const httpAt = (port: number): { host: string; port: number } | undefined =>
  port === 0 ? undefined : { host: '127.0.0.1', port };

async function controlPlaneFailed(controlPlane: ControlPlane): Promise<never> {
  const end = await controlPlane.exited;
  if (end.kind === 'failed') throw new CliError(end.message);
  return await new Promise<never>(() => {});
}
