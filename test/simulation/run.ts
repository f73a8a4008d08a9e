import { parseArgs } from 'node:util';
import { makePlan } from './make-plan.ts';
import { report, spared } from './report.ts';
import { replay } from './shrink.ts';
import { fullStory, minimalStory } from './story.ts';
import { runAll } from './workers.ts';

/** Failing seeds whose stories are told; of the others the number is. */
const MOST_STORIES = 3;

const USAGE = `usage: npm run test:simulation -- [--seeds N] [--from SEED] [--workers N] [--until-failure] [--report]
       npm run test:simulation -- --seed SEED [--story]
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '0' },
    workers: { type: 'string', default: '2' },
    'until-failure': { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    seed: { type: 'string' },
    story: { type: 'boolean', default: false },
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

if (values.help) say(USAGE);
else {
  const held =
    values.seed === undefined
      ? await many(Number(values.from), Number(values.seeds), Number(values.workers))
      : await one(Number(values.seed), values.story);
  process.exitCode = held ? 0 : 1;
}
