#!/usr/bin/env node
import { CommanderError } from 'commander';
import { commandsFor } from './commands.ts';
import { explainFailure } from './failure.ts';
import { shoesVz } from './program.ts';

/** What shells and most programs answer to a wrong use. */
const USAGE = 2;

function end(error: unknown): void {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
    return;
  }
  const { text, exitCode } = explainFailure(error);
  // Not before the line is out; and what was abandoned on the way must not keep the process.
  process.stderr.write(`${text}\n`, () => process.exit(exitCode));
}

// A reader may go away, and a terminal; the work goes on.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
process.on('uncaughtException', end);

// As in a shell, a variable that is empty is none.
for (const [name, value] of Object.entries(process.env)) {
  if (name.startsWith('SHOESVZ_') && value === '') delete process.env[name];
}

try {
  await shoesVz(await commandsFor(process.argv.slice(2))).parseAsync();
} catch (error) {
  end(error);
}
