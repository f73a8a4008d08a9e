import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from './control-plane/files.ts';

/** What `down` needs to know of the last `up`: VMs that were left running belong to that host. */
const LastUp = z.object({ hostRoot: z.string(), hostName: z.string() });
export type LastUp = z.infer<typeof LastUp>;

const fileOf = (dataDir: string): string => join(dataDir, 'up.json');

export async function rememberUp(dataDir: string, up: LastUp): Promise<void> {
  await writeFileAtomic(fileOf(dataDir), `${JSON.stringify(up, null, 2)}\n`);
}

/** undefined where there was none, or where the file is damaged. */
export async function recallUp(dataDir: string): Promise<LastUp | undefined> {
  try {
    return LastUp.parse(JSON.parse(await readFile(fileOf(dataDir), 'utf8')));
  } catch {
    return undefined;
  }
}
