import { parseArgs } from 'node:util';
import { makePlan } from './make-plan.ts';
import { tellMutants } from './mutants/run.ts';
import { report, spared } from './report.ts';
import { replay } from './shrink.ts';
import { fullStory, minimalStory } from './story.ts';
import { runAll } from './workers.ts';

/** Failing seeds whose stories are told; of the others the number is. */
const MOST_STORIES = 3;
const DEFAULT_SEEDS = 1000;

const USAGE = `usage: npm run test:simulation -- [--seeds N] [--from SEED] [--workers N] [--until-failure] [--report]
       npm run test:simulation -- --seed SEED [--story]
       npm run test:simulation -- --mutants [--only NAME,…] [--seeds N] [--workers N] [--update]
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '0' },
    workers: { type: 'string', default: '2' },
    'until-failure': { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    seed: { type: 'string' },
    story: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    only: { type: 'string' },
    update: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function one(seed: number, tellsAll: boolean): Promise<boolean> {
  const plan = makePlan(seed);
  const result = await replay(plan);
  if (tellsAll) say(fullStory(plan, result));
  if (result.violation === undefined) say(`seed ${seed}: all invariants held (trace ${result.hash})`);
  else say(await minimalStory(plan, result.violation));
  return result.violation === undefined;
}

async function many(from: number, seeds: number, workers: number): Promise<boolean> {
  const began = performance.now();
  const tally = await runAll({ from, seeds, workers, untilFailure: values['until-failure'] });
  const wallMs = performance.now() - began;
  for (const { seed, violation } of tally.failures.slice(0, MOST_STORIES)) {
    say(await minimalStory(makePlan(seed), violation));
    say('');
  }
  for (const { seed, violation } of tally.failures.slice(MOST_STORIES)) say(`seed ${seed}: ${violation}`);
  if (values.report) {
    say(report(tally, wallMs));
    const left = spared(tally);
    if (left.length > 0) say(`\ncrash points where nobody died: ${left.join(', ')}`);
  } else {
    say(`${tally.seeds} seeds, ${tally.failures.length} failed`);
  }
  return tally.failures.length === 0;
}

async function held(): Promise<boolean> {
  const workers = Number(values.workers);
  const seeds = values.seeds === undefined ? undefined : Number(values.seeds);
  if (values.mutants) {
    const only = values.only?.split(',');
    return await tellMutants({ only, seeds, workers, isQuick: false, updates: values.update, say });
  }
  if (values.seed !== undefined) return await one(Number(values.seed), values.story);
  const isWell = await many(Number(values.from), seeds ?? DEFAULT_SEEDS, workers);
  if (!values.report) return isWell;
  say('');
  return (await tellMutants({ workers, isQuick: true, updates: false, say })) && isWell;
}

if (values.help) say(USAGE);
else process.exitCode = (await held()) ? 0 : 1;
