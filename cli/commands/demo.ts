import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { runDemo } from '../demo/run.ts';
import { listenForStop } from '../lifetime.ts';
import { option } from '../options.ts';

interface Options {
  readonly json?: true;
  readonly keep?: true;
}

export const demoCommand = (): Command =>
  new Command('demo')
    .description(
      'Declares a Runner and shows its whole life on this machine: a real VM, a real API server. Leaves nothing behind.',
    )
    .addOption(option('--json', 'end with one line of JSON on stdout; the story goes to stderr'))
    .addOption(option('--keep', 'keep data, logs and templates of the demo, and say where they are'))
    .action(run);

/** The paths of sockets below it are bounded. */
const LONGEST_TMPDIR = 13;

async function run(options: Options): Promise<void> {
  const out = options.json === true ? process.stderr : process.stdout;
  const began = performance.now();
  const tell = (line: string): void => {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    out.write(`${seconds.padStart(6)} s  ${line}\n`);
  };
  const stop = listenForStop();
  void stop.asked.then((signal) =>
    tell(`${signal}: ending what was begun; a second one ends at once, and leaves it`),
  );
  const parent = Buffer.byteLength(tmpdir()) > LONGEST_TMPDIR ? '/tmp' : tmpdir();
  const dataDir = await mkdtemp(join(parent, 'svz-demo-'));
  let keep = true;
  try {
    const report = await runDemo({ dataDir, tell, stop });
    keep = options.keep === true;
    if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    // The logs of a failure are worth keeping; an interrupted demo has none.
    keep = !stop.signal.aborted;
    throw error;
  } finally {
    if (keep) tell(`kept        ${dataDir}, with logs in logs/`);
    else await rm(dataDir, { recursive: true, force: true });
  }
}
