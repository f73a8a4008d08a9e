import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomic } from './files.ts';
import { identify, isAlive, ProcessIdentity } from './process-identity.ts';

const Entry = z.object({ name: z.string(), ...ProcessIdentity.shape });
const Record = z.object({ version: z.literal(1), processes: z.array(Entry) });
type Entry = z.infer<typeof Entry>;

const OBSERVE_EVERY_MS = 20;
const KILL_TIMEOUT_MS = 10_000;

/** Notes which processes a data directory has, so that the next start can end what a killed owner left running. */
export async function recordProcesses(
  path: string,
  processes: readonly { readonly name: string; readonly pid: number }[],
): Promise<void> {
  const entries: Entry[] = [];
  for (const { name, pid } of processes) {
    const identity = await identify(pid);
    if (identity !== undefined) entries.push({ name, ...identity });
  }
  await writeFileAtomic(path, `${JSON.stringify({ version: 1, processes: entries })}\n`);
}

/**
 * Kills the recorded processes that still live, the last started first, and returns their names when they were
 * observed gone. A pid that was given to another process since then is left alone.
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

async function observeGone(entry: Entry): Promise<void> {
  const deadline = performance.now() + KILL_TIMEOUT_MS;
  while (await isAlive(entry)) {
    if (performance.now() > deadline) throw new Error(`${entry.name} (pid ${entry.pid}) does not die`);
    // Not our child: the kernel tells us nothing of its end.
    await new Promise((resolve) => setTimeout(resolve, OBSERVE_EVERY_MS));
  }
}

async function readRecord(path: string): Promise<Entry[]> {
  try {
    return Record.parse(JSON.parse(await readFile(path, 'utf8'))).processes;
  } catch {
    return [];
  }
}
