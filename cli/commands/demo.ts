import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { runDemo } from '../demo/run.ts';
import { CliError } from '../failure.ts';
import { untilStopped } from '../lifetime.ts';
import { fileLogger } from '../logging.ts';
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

async function run(options: Options): Promise<void> {
  const out = options.json === true ? process.stderr : process.stdout;
  const began = performance.now();
  const tell = (line: string): void => {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    out.write(`${seconds.padStart(6)} s  ${line}\n`);
  };
  // Short: the names of control sockets below it are bounded.
  const dataDir = await mkdtemp(join(tmpdir(), 'svz-demo-'));
  const stop = new AbortController();
  const log = fileLogger('debug', join(dataDir, 'logs', 'shoes-vz.log'));
  let keep = options.keep === true;
  try {
    const interrupted = untilStopped().then((signal) => stop.abort(new CliError(`stopped by ${signal}`)));
    const report = await Promise.race([
      runDemo({ dataDir, log, tell, signal: stop.signal }),
      interrupted.then(() => undefined),
    ]);
    if (report === undefined) throw stop.signal.reason;
    if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    keep ||= !stop.signal.aborted;
    throw error;
  } finally {
    if (keep) tell(`kept        ${dataDir}, with logs in logs/`);
    else await rm(dataDir, { recursive: true, force: true });
  }
}
