import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { serverUrl } from './address.ts';
import type { ControlPlaneBinaries } from './binaries.ts';
import { ControlPlaneError } from './error.ts';
import { failureText, lastComplaint } from './failure-text.ts';
import { apiserverArguments, CLIENT_SOCKET, etcdArguments } from './flags.ts';
import type { Layout } from './layout.ts';
import { OwnedProcess } from './owned-process.ts';
import type { Pki } from './pki.ts';
import { recordProcesses } from './process-record.ts';
import { waitForFile, waitForReady } from './ready.ts';

export interface ProgramsOptions {
  readonly layout: Layout;
  readonly binaries: ControlPlaneBinaries;
  readonly pki: Pki;
  readonly bindAddress: string;
  readonly port: number;
  readonly auditLog: string | undefined;
  readonly unsafeNoFsync: boolean;
  readonly signal: AbortSignal | undefined;
}

/** etcd and kube-apiserver, both running. */
export interface Programs {
  readonly etcd: OwnedProcess;
  readonly apiserver: OwnedProcess;
}

const ETCD_TIMEOUT_MS = 30_000;
const READY_TIMEOUT_MS = 120_000;
const STOP_GRACE_MS = 5_000;

/** Starts both and returns when the API server is ready. On failure, and when it is aborted, both are gone. */
export async function startPrograms(options: ProgramsOptions): Promise<Programs> {
  const { layout, signal } = options;
  signal?.throwIfAborted();
  await rm(join(layout.etcd, CLIENT_SOCKET), { force: true });
  const etcd = await OwnedProcess.start({
    name: 'etcd',
    file: options.binaries.etcd,
    args: etcdArguments({ unsafeNoFsync: options.unsafeNoFsync }),
    cwd: layout.etcd,
    logFile: join(layout.logs, 'etcd.log'),
  });
  let apiserver: OwnedProcess | undefined;
  try {
    // etcd listens before it serves, and the API server waits for its first answer: no need to wait longer
    // here.
    await succeeds([etcd], ETCD_TIMEOUT_MS, signal, (ms, until) =>
      waitForFile(join(layout.etcd, CLIENT_SOCKET), ms, until),
    );
    apiserver = await OwnedProcess.start({
      name: 'kube-apiserver',
      file: options.binaries.kubeApiserver,
      args: apiserverArguments({
        bindAddress: options.bindAddress,
        port: options.port,
        pki: options.pki,
        audit: auditFiles(options),
      }),
      cwd: layout.etcd,
      logFile: join(layout.logs, 'kube-apiserver.log'),
    });
    await recordProcesses(layout.processes, [etcd, apiserver]);
    const server = serverUrl(options.bindAddress, options.port);
    await succeeds([apiserver, etcd], READY_TIMEOUT_MS, signal, (ms, until) =>
      waitForReady(server, options.pki, ms, until),
    );
    return { etcd, apiserver };
  } catch (error) {
    await apiserver?.stop(0);
    await etcd.stop(0);
    await rm(layout.processes, { force: true });
    throw error;
  }
}

/**
 * The API server first: it finishes what it is at while etcd is there, and without etcd never does. Returns
 * when both are gone.
 */
export async function stopPrograms(programs: Programs, layout: Layout): Promise<void> {
  await programs.apiserver.stop(programs.etcd.hasExited ? 0 : STOP_GRACE_MS);
  await programs.etcd.stop(STOP_GRACE_MS);
  await rm(layout.processes, { force: true });
}

const auditFiles = (options: ProgramsOptions) =>
  options.auditLog === undefined
    ? undefined
    : { policyFile: options.layout.auditPolicy, logFile: options.auditLog };

/** Waits for a condition of the first process for as long as all of them live. */
async function succeeds(
  processes: readonly [OwnedProcess, ...OwnedProcess[]],
  timeoutMs: number,
  signal: AbortSignal | undefined,
  condition: (timeoutMs: number, until: AbortSignal) => Promise<boolean>,
): Promise<void> {
  const abort = new AbortController();
  const until = AbortSignal.any(signal === undefined ? [abort.signal] : [abort.signal, signal]);
  const early = Promise.race(processes.map((process) => process.exited));
  const settled = await Promise.race([condition(timeoutMs, until), early]);
  abort.abort();
  signal?.throwIfAborted();
  if (settled === true) return;
  if (settled !== false) throw new ControlPlaneError('StartFailed', failureText(settled));
  const [{ name, tail }] = processes;
  const message = `${name} was not ready after ${timeoutMs / 1000} s: ${lastComplaint(tail) ?? 'it does not say why'}`;
  throw new ControlPlaneError('StartFailed', message);
}
