import { runBenchmark } from './harness/run.ts';
import { startWorld } from './harness/world.ts';
import { measureMemory } from './start/memory.ts';

/** The part of `npm run bench:start` that measures resident memory, alone: `npm run bench:memory`. */
await runBenchmark('memory', async (context) => ({
  residentMiB: await measureMemory(context, await startWorld(context)),
}));
