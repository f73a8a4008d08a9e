import { measureClones } from './clone/clones.ts';
import { numberFlags } from './harness/flags.ts';
import { runBenchmark } from './harness/run.ts';

/**
 * What cloning a disk costs, by its size: `npm run bench:clone -- [--clones N]`. On an XFS of its own, in a
 * sparse file: needs root, loop devices and room for 25 GB; says why it is skipped elsewhere.
 */
await runBenchmark('clone', async (context) => {
  const { clones } = numberFlags({ clones: 30 });
  return await measureClones(context, clones);
});
