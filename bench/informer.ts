import { numberFlags } from './harness/flags.ts';
import { runBenchmark } from './harness/run.ts';
import { measureIdle } from './informer/idle.ts';
import { measureLoad } from './informer/load.ts';

/**
 * Our informer beside client-node's, each in a process of its own, following the same API server:
 * `npm run bench:informer -- [--objects N] [--events N] [--restarts N] [--idle-minutes N]`.
 */
await runBenchmark('informer', async (context) => {
  const flags = numberFlags({ objects: 10_000, events: 1_000, restarts: 5, 'idle-minutes': 0 });
  const underLoad = await measureLoad(context, flags.objects, flags.events, flags.restarts);
  const minutes = flags['idle-minutes'];
  return { ...underLoad, idle: minutes === 0 ? undefined : await measureIdle(context, minutes) };
});
