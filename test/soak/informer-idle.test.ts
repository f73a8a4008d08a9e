import { expect, test } from 'vitest';
import { inScope } from '../../bench/harness/run.ts';
import { measureIdle } from '../../bench/informer/idle.ts';

const MINUTES = 10;
const INFORMERS = 20;

/** How long the events took is what `npm run bench:informer -- --idle-minutes 10` tells. */
test('after ten minutes in which nothing happened, every informer sees the first event', async () => {
  const tell = (line: string): void => void process.stderr.write(`${line}\n`);
  const { ours } = await inScope({ tell }, (context) => measureIdle(context, MINUTES));
  process.stderr.write(`${JSON.stringify(ours)}\n`);
  expect(ours.eventDelayMs.n).toBe(INFORMERS);
  expect(ours.problems).toBe(0);
});
