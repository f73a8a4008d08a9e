import { numberFlags } from './harness/flags.ts';
import { type BenchContext, inScope, runBenchmark } from './harness/run.ts';
import { setMaxRunners, startWorld } from './harness/world.ts';
import { measureMemory } from './start/memory.ts';
import { measureOneAtATime } from './start/one.ts';
import { startStage } from './start/stage.ts';
import { measureThreeAtOnce } from './start/three.ts';

/**
 * What a Runner's start and end cost: `npm run bench:start -- [--runners N] [--rounds N] [--warmup N]`. Runners
 * one at a time, then rounds of three at once, then memory of the programs on their own.
 */
await runBenchmark('start', measure);

async function measure(context: BenchContext): Promise<object> {
  const { runners, rounds, warmup } = numberFlags({ runners: 30, rounds: 10, warmup: 1 });
  const figures = await inScope(context, async (inner) => {
    const world = await startWorld(inner);
    const stage = await startStage(inner, world, 1);
    const { tell } = inner;
    if (warmup > 0) await measureOneAtATime(stage, warmup, (line) => tell(`warming up: ${line}`), 'warmup');
    const oneAtATime = await measureOneAtATime(stage, runners, tell);
    await setMaxRunners(world.client, 3);
    const threeAtOnce = rounds === 0 ? undefined : await measureThreeAtOnce(stage, rounds, tell);
    return { accelerator: stage.accelerator, unit: 'ms', oneAtATime, threeAtOnce };
  });
  const residentMiB = await inScope(context, async (inner) => measureMemory(inner, await startWorld(inner)));
  return { ...figures, residentMiB };
}
