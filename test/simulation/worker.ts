import { runHere } from './workers.ts';

/** A process that runs the seeds which its parent asks for. */
process.on('message', ({ from, seeds, untilFailure }: WorkOrder) => {
  void runHere(from, seeds, untilFailure).then((tally) => process.send?.(tally));
});

// Nobody waits for the answer any more.
process.once('disconnect', () => process.exit(1));

/** What a parent sends. */
export interface WorkOrder {
  readonly from: number;
  readonly seeds: number;
  /** A failure ends it. */
  readonly untilFailure: boolean;
}
