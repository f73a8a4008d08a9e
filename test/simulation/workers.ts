import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { makePlan } from './make-plan.ts';
import { simulate } from './simulate.ts';
import { NO_TALLY, type Tally, tallyOf, together } from './tally.ts';
import type { WorkOrder } from './worker.ts';

/** Seeds that a worker gets at once. */
const CHUNK = 50;

/** Which seeds, and how they are run. */
export interface Work {
  readonly from: number;
  readonly seeds: number;
  readonly workers: number;
  /** A failure ends everything. */
  readonly untilFailure: boolean;
  /** Called with the tally so far. */
  readonly onProgress?: ((tally: Tally) => void) | undefined;
}

/** Runs seeds in this process. */
export async function runHere(from: number, seeds: number, untilFailure = false): Promise<Tally> {
  let tally = NO_TALLY;
  for (let seed = from; seed < from + seeds; seed += 1) {
    const began = process.cpuUsage();
    const result = await simulate(makePlan(seed));
    const { user, system } = process.cpuUsage(began);
    tally = together(tally, tallyOf(result, (user + system) / 1000));
    if (untilFailure && tally.failures.length > 0) break;
  }
  return tally;
}

/** Runs seeds in processes of their own, which have this one's arguments to Node: hooks and all. */
export async function runAll(work: Work): Promise<Tally> {
  if (work.workers <= 1) return await runHere(work.from, work.seeds, work.untilFailure);
  const end = work.from + work.seeds;
  let next = work.from;
  let tally = NO_TALLY;
  const children = Array.from({ length: work.workers }, startWorker);
  const serve = async (child: ChildProcess): Promise<void> => {
    while (next < end && !(work.untilFailure && tally.failures.length > 0)) {
      const from = next;
      next = Math.min(end, next + CHUNK);
      const { untilFailure } = work;
      const more = await ask(child, { from, seeds: next - from, untilFailure });
      tally = together(tally, more);
      work.onProgress?.(tally);
    }
  };
  try {
    await Promise.all(children.map(serve));
  } finally {
    for (const child of children) child.kill();
  }
  return tally;
}

const startWorker = (): ChildProcess => fork(fileURLToPath(new URL('./worker.ts', import.meta.url)));

function ask(child: ChildProcess, order: WorkOrder): Promise<Tally> {
  const { promise, resolve, reject } = Promise.withResolvers<Tally>();
  const gone = (): void => reject(new Error(`a worker ended while it ran seeds from ${order.from}`));
  child.once('exit', gone);
  child.once('message', (tally) => {
    child.off('exit', gone);
    resolve(tally as Tally);
  });
  child.send(order);
  return promise;
}
