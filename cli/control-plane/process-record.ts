import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ExplainedError } from '../../kube/explained-error.ts';
import { systemProcessTable } from '../../node-daemon/vm/process-table.ts';
import { writeFileAtomic } from './files.ts';

/** A process, not merely its number: pids are used again, after a reboot from the start. */
const Entry = z.object({
  name: z.string(),
  pid: z.number().int().positive(),
  bootId: z.string(),
  startTime: z.string(),
});
type Entry = z.infer<typeof Entry>;

const Processes = z.object({ version: z.literal(1), processes: z.array(Entry) });

const OBSERVE_EVERY_MS = 20;
const KILL_TIMEOUT_MS = 10_000;

/**
 * Notes which processes a data directory has, so that the next start can end what a killed owner left
 * running.
 */
export async function recordProcesses(
  path: string,
  processes: readonly { readonly name: string; readonly pid: number }[],
): Promise<void> {
  const table = systemProcessTable();
  const bootId = await table.bootId();
  const entries: Entry[] = [];
  for (const { name, pid } of processes) {
    const startTime = await table.startTime(pid);
    if (startTime !== undefined) entries.push({ name, pid, bootId, startTime });
  }
  const content = { version: 1, processes: entries } satisfies z.infer<typeof Processes>;
  await writeFileAtomic(path, `${JSON.stringify(content)}\n`);
}

/** The recorded processes that still live. A pid that was given to another process since then is none of them. */
export async function livingRecorded(
  path: string,
): Promise<readonly { readonly name: string; readonly pid: number }[]> {
  const entries = await readRecord(path);
  const alive = await Promise.all(entries.map(isAlive));
  return entries.filter((_, index) => alive[index]);
}

/**
 * Kills the recorded processes that still live, the last started first, and returns their names when they
 * were observed gone. A pid that was given to another process since then is left alone.
 */
export async function reapRecorded(path: string): Promise<string[]> {
  const reaped: string[] = [];
  for (const entry of (await readRecord(path)).reverse()) {
    if (!(await isAlive(entry))) continue;
    process.kill(entry.pid, 'SIGKILL');
    reaped.push(entry.name);
    await observeGone(entry);
  }
  return reaped;
}

async function isAlive(entry: Entry): Promise<boolean> {
  const table = systemProcessTable();
  return (await table.bootId()) === entry.bootId && (await table.startTime(entry.pid)) === entry.startTime;
}

async function observeGone(entry: Entry): Promise<void> {
  const deadline = performance.now() + KILL_TIMEOUT_MS;
  while (await isAlive(entry)) {
    if (performance.now() > deadline)
      throw new ExplainedError(`${entry.name} (pid ${entry.pid}) does not die`);
    // Not our child: the kernel tells us nothing of its end.
    await new Promise((resolve) => setTimeout(resolve, OBSERVE_EVERY_MS));
  }
}

async function readRecord(path: string): Promise<Entry[]> {
  try {
    return Processes.parse(JSON.parse(await readFile(path, 'utf8'))).processes;
  } catch {
    return [];
  }
}
