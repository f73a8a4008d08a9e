import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** What of the operating system's process table VMs need. A zombie counts as gone. */
export interface ProcessTable {
  /** Changes with every boot of the machine. */
  bootId(): Promise<string>;
  /** Opaque, fixed for a process' life; undefined where there is no such process. Throws if unknowable. */
  startTime(pid: number): Promise<string | undefined>;
  /** Pids of all session leaders with an argument that contains the text. Throws if unknowable. */
  findLeaders(argumentPart: string): Promise<number[]>;
}

export function systemProcessTable(platform: NodeJS.Platform = process.platform): ProcessTable {
  return platform === 'linux' ? procTable() : psTable(platform === 'darwin' ? darwinBootId : linuxBootId);
}

interface ProcStat {
  readonly state: string;
  readonly session: number;
  readonly threads: number;
  readonly startTime: string;
}

/** `/proc/<pid>/stat`: the command name in parentheses may itself contain spaces and parentheses. */
export function parseProcStat(text: string): ProcStat | undefined {
  const fields = text
    .slice(text.lastIndexOf(')') + 2)
    .trimEnd()
    .split(' ');
  const [state, session, threads, startTime] = [fields[0], fields[3], fields[17], fields[19]];
  if (state === undefined || session === undefined || startTime === undefined) return undefined;
  return { state, session: Number(session), threads: Number(threads), startTime };
}

/**
 * A zombie that waits to be reaped holds nothing. Its state alone does not say that it is one: the first thread of a
 * process that is killed ends like one while others still hold files and ports.
 */
export const isGone = ({ state, threads }: Pick<ProcStat, 'state' | 'threads'>): boolean =>
  state === 'X' || (state === 'Z' && threads <= 1);

function procTable(): ProcessTable {
  const living = async (pid: number): Promise<ProcStat | undefined> => {
    const text = await readProc(`/proc/${pid}/stat`);
    const stat = text === undefined ? undefined : parseProcStat(text);
    return stat === undefined || isGone(stat) ? undefined : stat;
  };
  const leads = async (pid: number, argumentPart: string): Promise<boolean> => {
    const cmdline = await readProc(`/proc/${pid}/cmdline`);
    if (!cmdline?.includes(argumentPart)) return false;
    return (await living(pid))?.session === pid;
  };
  return {
    bootId: linuxBootId,
    startTime: async (pid) => (await living(pid))?.startTime,
    findLeaders: async (argumentPart) => {
      const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number);
      const found = await Promise.all(pids.map((pid) => leads(pid, argumentPart)));
      return pids.filter((_, index) => found[index]);
    },
  };
}

/** undefined: the process went away. */
async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

async function linuxBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

async function darwinBootId(): Promise<string> {
  const { stdout } = await run('sysctl', ['-n', 'kern.bootsessionuuid'], LIMITS);
  return stdout.trim();
}

const run = promisify(execFile);
const LIMITS = {
  timeout: 5_000,
  maxBuffer: 16 * 1024 * 1024,
  env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
};

/** What `ps` prints for one process; `lstart` is five words. */
const PS_LINE = /^\s*([0-9]+)\s+([0-9]+)\s+(\S+)\s+(\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.*)$/;

/** Where there is no /proc. `ps` knows start times to the second. */
export function psTable(bootId: () => Promise<string>): ProcessTable {
  const list = async (): Promise<{ pid: number; leader: boolean; startTime: string; args: string }[]> => {
    const { stdout } = await run('ps', ['-A', '-ww', '-o', 'pid=,pgid=,stat=,lstart=,args='], LIMITS);
    return stdout.split('\n').flatMap((line) => {
      const [, pid, group, state, startTime, args] = PS_LINE.exec(line) ?? [];
      if (state === undefined || startTime === undefined || args === undefined) return [];
      if (state.startsWith('Z')) return [];
      return [{ pid: Number(pid), leader: pid === group, startTime: startTime.replace(/\s+/g, ' '), args }];
    });
  };
  return {
    bootId,
    startTime: async (pid) => (await list()).find((entry) => entry.pid === pid)?.startTime,
    findLeaders: async (argumentPart) =>
      (await list())
        .filter((entry) => entry.leader && entry.args.includes(argumentPart))
        .map((entry) => entry.pid),
  };
}
