import { runHere } from './workers.ts';

/** A process that runs the seeds which its parent asks for. */
process.on('message', ({ from, seeds }: { from: number; seeds: number }) => {
  void runHere(from, seeds).then((tally) => process.send?.(tally));
});
