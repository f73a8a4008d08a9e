import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ExplainedError } from '../../kube/explained-error.ts';
import { replaceFile } from '../durable-file.ts';

const MachineFile = z.object({ version: z.literal(1), machineID: z.uuid() });

/**
 * The UUID of this host root, kept in `<root>/machine.json`: made once, on disk before it is returned. Two
 * roots on one machine are two machines. Must be called under the root's lock, or two starters could each
 * make one.
 */
export async function loadMachineId(root: string): Promise<string> {
  const path = join(root, 'machine.json');
  const text = await readIfPresent(path);
  if (text !== undefined) return parse(path, text);
  const machineID = randomUUID();
  await replaceFile(path, `${JSON.stringify({ version: 1, machineID })}\n`, 0o644);
  return machineID;
}

function parse(path: string, text: string): string {
  try {
    return MachineFile.parse(JSON.parse(text)).machineID;
  } catch {
    throw new MachineIdError(
      `${path}: not a machine's identity ({"version":1,"machineID":"<UUID>"}); restore it, or remove the file to make this a new machine`,
    );
  }
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The machine's identity cannot be read. It is never made anew over a damaged one. */
export class MachineIdError extends ExplainedError {
  constructor(message: string) {
    super(message);
    this.name = 'MachineIdError';
  }
}
