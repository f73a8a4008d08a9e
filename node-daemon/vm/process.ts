import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { BundlePaths, VmCommand } from './driver.ts';
import { type RuntimeMetadata, readMetadata } from './metadata.ts';
import { type ProcessTable, systemProcessTable } from './process-table.ts';

/** A pid alone proves nothing: it is trusted only with its start time and the boot it belongs to. */
export type ProcessIdentity = NonNullable<RuntimeMetadata['process']>;

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnedVm {
  /** undefined: it has ended already. */
  readonly identity: ProcessIdentity | undefined;
  /** Settles, never rejects, when the process ends while this daemon runs. */
  readonly exited: Promise<ProcessExit>;
}

export type ProcessFinding =
  | { readonly state: 'present'; readonly processes: readonly ProcessIdentity[] }
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly why: string };

/** Starts, finds and ends VM processes. One implementation is the operating system, the fake is another. */
export interface VmProcesses {
  /** Changes with every boot of the machine. */
  bootId(): Promise<string>;
  /**
   * Starts a VM's process in a session of its own, in the bundle's directory, its output appended to vm.log.
   * It outlives the daemon. Rejects where it could not be started at all.
   */
  spawn(bundle: BundlePaths, command: VmCommand): Promise<SpawnedVm>;
  /**
   * The VM's processes: the recorded one, and any whose arguments name the bundle's control socket, which
   * covers a daemon that died between spawning and recording. Never rejects.
   */
  find(bundle: BundlePaths): Promise<ProcessFinding>;
  /** Settles when the process is gone, adopted ones included; rejects when aborted. */
  waitGone(process: ProcessIdentity, signal: AbortSignal): Promise<void>;
  /**
   * Kills the VM's processes, if any, and returns when they were observed gone. Rejects, to be tried again,
   * where that could not be observed within the deadline.
   */
  killAndWait(bundle: BundlePaths, deadlineMs: number): Promise<void>;
}

/** Runs the VM without core dumps, which would hold guest memory; nothing that it makes is for others. */
const LAUNCHER = 'umask 077; ulimit -c 0; exec "$@"';

const ADOPTED_POLL_MS = 100;
const KILL_POLL_MS = 2;
const FIND_POLL_MS = 10;

type Alive = (process: ProcessIdentity) => Promise<boolean>;

export function systemProcesses(table: ProcessTable = systemProcessTable()): VmProcesses {
  const alive: Alive = async (process) =>
    process.bootId === (await table.bootId()) && process.startTime === (await table.startTime(process.pid));
  const identify = async (pid: number): Promise<ProcessIdentity | undefined> => {
    const [startTime, bootId] = await Promise.all([table.startTime(pid), table.bootId()]);
    return startTime === undefined ? undefined : { pid, startTime, bootId };
  };
  const find = (bundle: BundlePaths): Promise<ProcessFinding> =>
    findVmProcess(table, bundle, alive, identify);
  return {
    bootId: () => table.bootId(),
    spawn: (bundle, command) => spawnDetached(bundle, command, identify),
    find,
    waitGone: async (process, signal) => {
      while (await alive(process)) await delay(ADOPTED_POLL_MS, undefined, { signal });
    },
    killAndWait: (bundle, deadlineMs) => killAndWait(bundle, deadlineMs, { find, alive }),
  };
}

async function spawnDetached(
  bundle: BundlePaths,
  command: VmCommand,
  identify: (pid: number) => Promise<ProcessIdentity | undefined>,
): Promise<SpawnedVm> {
  const log = await open(bundle.log, 'a', 0o600);
  try {
    const child = spawn('/bin/sh', ['-c', LAUNCHER, 'sh', command.file, ...command.argv], {
      cwd: bundle.dir,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: { PATH: process.env.PATH, ...command.env },
    });
    const exited = new Promise<ProcessExit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return { identity: child.pid === undefined ? undefined : await identify(child.pid), exited };
  } finally {
    await log.close();
  }
}

async function findVmProcess(
  table: ProcessTable,
  bundle: BundlePaths,
  alive: Alive,
  identify: (pid: number) => Promise<ProcessIdentity | undefined>,
): Promise<ProcessFinding> {
  try {
    const recorded = await recordedProcess(bundle, alive);
    const byPid = new Map<number, ProcessIdentity>();
    if (recorded !== undefined) byPid.set(recorded.pid, recorded);
    for (const spelling of spellings(bundle.controlSocket)) {
      for (const pid of await table.findLeaders(spelling)) {
        const identity = await identify(pid);
        if (identity !== undefined) byPid.set(pid, identity);
      }
    }
    return byPid.size === 0 ? { state: 'absent' } : { state: 'present', processes: [...byPid.values()] };
  } catch (error) {
    return { state: 'unknown', why: error instanceof Error ? error.message : String(error) };
  }
}

/** The process that the metadata names, as long as it lives. */
async function recordedProcess(bundle: BundlePaths, alive: Alive): Promise<ProcessIdentity | undefined> {
  const read = await readMetadata(bundle.metadata);
  const recorded = read.state === 'present' ? read.metadata.process : undefined;
  return recorded !== undefined && (await alive(recorded)) ? recorded : undefined;
}

/** A path as it may stand in an argument: QEMU doubles commas. */
function spellings(path: string): readonly string[] {
  const escaped = path.replaceAll(',', ',,');
  return escaped === path ? [path] : [path, escaped];
}

/**
 * The recorded process is told first, and goes while all others are looked at for one that is not recorded: looking
 * costs about as much as going. Nothing starts a VM whose end was asked for, so who was found then is all there is.
 */
async function killAndWait(
  bundle: BundlePaths,
  deadlineMs: number,
  { find, alive }: { find: (bundle: BundlePaths) => Promise<ProcessFinding>; alive: Alive },
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  const recorded = await recordedProcess(bundle, alive).catch(() => undefined);
  if (recorded !== undefined) killGroup(recorded.pid);
  let finding = await find(bundle);
  while (finding.state === 'unknown' && performance.now() <= deadline) {
    await delay(FIND_POLL_MS);
    finding = await find(bundle);
  }
  if (finding.state === 'unknown') throw new Error(describeStuck(bundle, finding, deadlineMs));
  if (finding.state === 'absent') return;
  const { processes } = finding;
  for (const { pid } of processes) killGroup(pid);
  for (const process of processes) {
    while (await alive(process)) {
      if (performance.now() > deadline) throw new Error(describeStuck(bundle, finding, deadlineMs));
      await delay(KILL_POLL_MS);
    }
  }
}

/** The process leads its group: helpers that it started go with it. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return;
    throw error;
  }
}

function describeStuck(bundle: BundlePaths, finding: ProcessFinding, deadlineMs: number): string {
  const what =
    finding.state === 'present'
      ? `process ${finding.processes.map(({ pid }) => pid).join(', ')} is still there after SIGKILL`
      : `cannot tell whether its process is gone${finding.state === 'unknown' ? `: ${finding.why}` : ''}`;
  return `${bundle.dir}: ${what} (waited ${deadlineMs} ms)`;
}
