import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type RunnerProcess, runnerProcessOf } from '../runner-processes.ts';

/** Interpreter, its options, script and verb are among the first. */
const MAX_ARGS = 8;
const KTHREADD_PID = '2';

/**
 * Looks through /proc. Costs one small read per user process: kernel threads, most of what there is in a small
 * guest, are remembered and skipped.
 */
export function linuxProcessScan(proc = '/proc'): () => readonly RunnerProcess[] {
  const kernelThreads = new Set<string>();
  return () => {
    const found: RunnerProcess[] = [];
    const pids = readdirSync(proc).filter((name) => /^[0-9]+$/.test(name));
    const alive = new Set(pids);
    for (const pid of kernelThreads) if (!alive.has(pid)) kernelThreads.delete(pid);
    for (const pid of pids) {
      if (kernelThreads.has(pid)) continue;
      const process = inspect(`${proc}/${pid}`);
      if (process === 'kernel') kernelThreads.add(pid);
      else if (process !== undefined) found.push(process);
    }
    return found;
  };
}

/** undefined: nothing to a runner, or gone meanwhile. */
function inspect(dir: string): RunnerProcess | 'kernel' | undefined {
  try {
    const cmdline = readFileSync(`${dir}/cmdline`, 'utf8');
    if (cmdline !== '')
      return runnerProcessOf(cmdline.split('\0', MAX_ARGS), () => readlinkSync(`${dir}/cwd`));
    return parentOf(readFileSync(`${dir}/stat`, 'utf8')) === KTHREADD_PID ? 'kernel' : undefined;
  } catch {
    return undefined;
  }
}

/** `pid (name) state ppid …`; the name may hold anything, parentheses included. */
function parentOf(stat: string): string | undefined {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
}
