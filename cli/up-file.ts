import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from './control-plane/files.ts';
import { CliError } from './failure.ts';

/** What the next start and `down` need to know of the last `up`: VMs that it left running belong to that host. */
const LastUp = z.object({ hostRoot: z.string(), hostName: z.string() });
export type LastUp = Readonly<z.infer<typeof LastUp>>;

const fileOf = (dataDir: string): string => join(dataDir, 'up.json');

/** The caller holds the data directory's lock. `undefined`: there was no such start. */
export async function rememberUp(dataDir: string, up: LastUp | undefined): Promise<void> {
  if (up === undefined) await rm(fileOf(dataDir), { force: true });
  else await writeFileAtomic(fileOf(dataDir), `${JSON.stringify(up, null, 2)}\n`);
}

/** `undefined`: there was none. */
export async function recallUp(dataDir: string): Promise<LastUp | undefined> {
  const text = await readFile(fileOf(dataDir), 'utf8').catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    return LastUp.parse(JSON.parse(text));
  } catch {
    throw new CliError(
      `${fileOf(dataDir)} is damaged; remove it, and run up with the --host-root and --host-name of last time`,
    );
  }
}
