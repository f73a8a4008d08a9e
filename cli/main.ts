#!/usr/bin/env node
import { CommanderError } from 'commander';
import { explainFailure } from './failure.ts';
import { shoesVz } from './program.ts';

try {
  await shoesVz().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { text, exitCode } = explainFailure(error);
    process.stderr.write(`${text}\n`);
    process.exitCode = exitCode;
  }
}
