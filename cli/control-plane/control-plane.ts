import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { FileLock } from '../../node-daemon/file-lock.ts';
import { availablePort, defaultBindAddress, servedNames, serverUrl } from './address.ts';
import { type ControlPlaneBinaries, controlPlaneBinaries } from './binaries.ts';
import { ControlPlaneError } from './error.ts';
import { failureText } from './failure-text.ts';
import { writeFileAtomic } from './files.ts';
import { AUDIT_POLICY } from './flags.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { type Layout, layoutOf, makeDirectories } from './layout.ts';
import { tryLock } from './lock.ts';
import { ensurePki } from './pki.ts';
import { reapRecorded } from './process-record.ts';
import { type Programs, startPrograms, stopPrograms } from './programs.ts';

export interface ControlPlaneOptions {
  /** Everything is kept here: keys, data, logs, kubeconfig. Made where it is missing. */
  readonly dataDir: string;
  /** Default: found, downloaded or built by {@link controlPlaneBinaries}. */
  readonly binaries?: ControlPlaneBinaries | undefined;
  /** Default: the port of the last start in this data directory where it is free, else any free one. */
  readonly port?: number | undefined;
  /** Default: a loopback address; on Linux one that guests do not reach by way of their gateway. */
  readonly bindAddress?: string | undefined;
  /** File for an audit log at level Metadata, one JSON event per line. Default: none. */
  readonly auditLog?: string | undefined;
  /** Lets etcd skip fsync: faster, and data may be lost when the machine dies. For tests. Default: false. */
  readonly unsafeNoFsync?: boolean | undefined;
  /** Told of steps that take long and of what a person would want to know. */
  readonly log: (line: string) => void;
  /** Ends the start, which then rejects with its reason. Of no effect afterwards. */
  readonly signal?: AbortSignal | undefined;
}

/** A running API server with its etcd. */
export interface ControlPlane {
  /** `<dataDir>/kubeconfig`, with the administrator's key. */
  readonly kubeconfigPath: string;
  /** `https://address:port` */
  readonly server: string;
  /** Path of a kubectl of the same version. */
  readonly kubectl: string;
  readonly pids: { readonly etcd: number; readonly kubeApiserver: number };
  /**
   * API server first, then etcd; each is killed after a grace time. Idempotent; settles when both are gone.
   */
  stop(): Promise<void>;
  /** Settles when both processes are gone. Where one fails, the other is stopped. */
  readonly exited: Promise<ControlPlaneEnd>;
}

/** How it ended: asked to, or because a program failed. */
export type ControlPlaneEnd =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly message: string };

/** Between finding a free port and the API server's taking it, another process may take it. */
const FREE_PORT_ATTEMPTS = 3;

/**
 * Starts etcd and kube-apiserver and returns when the API server is ready. What a killed owner of this data
 * directory left running is ended first. Rejects with a {@link ControlPlaneError} and leaves no process
 * behind.
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const layout = layoutOf(resolve(options.dataDir));
  await makeDirectories(layout);
  const lock = await lockDataDirectory(layout);
  try {
    const reaped = await reapRecorded(layout.processes);
    if (reaped.length > 0)
      options.log(`ended ${reaped.join(' and ')}, left running when their owner was killed`);
    const binaries = options.binaries ?? (await findBinaries(options));
    const bindAddress = options.bindAddress ?? (await defaultBindAddress());
    const { programs, port, kubeconfig } = await startOnSomePort(layout, binaries, bindAddress, options);
    return handle({ layout, lock, programs, binaries, server: serverUrl(bindAddress, port), kubeconfig });
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** A build that is abandoned ends with this process, and leaves nothing that the next one does not remove. */
async function findBinaries({ log, signal }: ControlPlaneOptions): Promise<ControlPlaneBinaries> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    return await Promise.race([controlPlaneBinaries({ progress: log }), aborted.promise]);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

async function lockDataDirectory(layout: Layout): Promise<FileLock> {
  const lock = await tryLock(layout.lock);
  if ('release' in lock) return lock;
  const holder = lock.heldBy === undefined ? 'another process' : `process ${lock.heldBy}`;
  const message = `data directory: ${layout.root} is in use by ${holder}; stop that one, or choose another directory`;
  throw new ControlPlaneError('DataDirInUse', message);
}

async function startOnSomePort(
  layout: Layout,
  binaries: ControlPlaneBinaries,
  bindAddress: string,
  options: ControlPlaneOptions,
): Promise<{ programs: Programs; port: number; kubeconfig: string }> {
  const pki = await ensurePki({ dir: layout.pki, addresses: servedNames(bindAddress), now: new Date() });
  const auditLog = options.auditLog === undefined ? undefined : resolve(options.auditLog);
  if (auditLog !== undefined) await writeFileAtomic(layout.auditPolicy, AUDIT_POLICY);
  const unsafeNoFsync = options.unsafeNoFsync ?? false;
  for (let attempt = 1; ; attempt++) {
    const port = await choosePort(layout, bindAddress, options.port);
    try {
      const programs = await startPrograms({
        layout,
        binaries,
        pki,
        bindAddress,
        port,
        auditLog,
        unsafeNoFsync,
        signal: options.signal,
      });
      await writeKubeconfig(layout.kubeconfig, serverUrl(bindAddress, port), pki);
      await writeFileAtomic(layout.endpoint, `${bindAddress} ${port}\n`);
      return { programs, port, kubeconfig: layout.kubeconfig };
    } catch (error) {
      const lostPort = error instanceof ControlPlaneError && error.message.includes('address already in use');
      if (!lostPort || options.port !== undefined || attempt === FREE_PORT_ATTEMPTS) throw error;
    }
  }
}

async function choosePort(layout: Layout, bindAddress: string, wanted: number | undefined): Promise<number> {
  if (wanted !== undefined) return await availablePort(bindAddress, wanted);
  const [address, port] = (await readFile(layout.endpoint, 'utf8').catch(() => '')).trim().split(' ');
  if (address === bindAddress && port !== undefined) {
    const last = await availablePort(bindAddress, Number(port)).catch(() => undefined);
    if (last !== undefined) return last;
  }
  return await availablePort(bindAddress, undefined);
}

function handle(parts: {
  readonly layout: Layout;
  readonly lock: FileLock;
  readonly programs: Programs;
  readonly binaries: ControlPlaneBinaries;
  readonly server: string;
  readonly kubeconfig: string;
}): ControlPlane {
  const { layout, lock, programs } = parts;
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= stopPrograms(programs, layout).finally(() => lock.release());
    return stopping;
  };
  const watch = async (): Promise<ControlPlaneEnd> => {
    const first = await Promise.race([programs.etcd.exited, programs.apiserver.exited]);
    const asked = stopping !== undefined;
    await stop();
    return asked ? { kind: 'stopped' } : { kind: 'failed', message: failureText(first) };
  };
  return {
    kubeconfigPath: parts.kubeconfig,
    server: parts.server,
    kubectl: parts.binaries.kubectl,
    pids: { etcd: programs.etcd.pid, kubeApiserver: programs.apiserver.pid },
    stop,
    exited: watch(),
  };
}
