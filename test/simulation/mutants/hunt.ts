import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Tally } from '../tally.ts';
import type { WorkOrder } from '../worker.ts';
import type { Mutant } from './mutant.ts';

/** Real time by which a child must have caught its mutant or run all its seeds: a mutant may go round and round for ever. */
const PATIENCE_MS = 1_800_000;

const WORKER = fileURLToPath(new URL('../worker.ts', import.meta.url));
const HOOK = new URL('./hook.ts', import.meta.url).href;

/** The first seed with which a mutant breaks something. */
export interface Catch {
  readonly seed: number;
  /** The number of the invariant, and what happened. */
  readonly violation: string;
}

/**
 * Runs seeds one after the other until the mutant breaks something; undefined: it does not. In a process of its own, whose
 * source is edited as it is loaded.
 */
export async function hunt(
  { name }: Pick<Mutant, 'name'>,
  from: number,
  seeds: number,
): Promise<Catch | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Tally>();
  const child = fork(WORKER, {
    execArgv: ['--import', HOOK],
    env: { ...process.env, SHOESVZ_MUTANT: name },
    timeout: PATIENCE_MS,
  });
  child.once('message', (tally) => resolve(tally as Tally));
  child.once('error', reject);
  child.once('exit', () => reject(new Error(`the process of the mutant ${name} ended before it was done`)));
  child.send({ from, seeds, untilFailure: true } satisfies WorkOrder);
  try {
    return (await promise).failures[0];
  } finally {
    child.kill();
  }
}
