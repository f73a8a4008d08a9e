import { join, relative } from 'node:path';
import { generatedFiles, staleFiles, writeFiles } from './generated-files.ts';

const USAGE = 'usage: node crds/generate.ts [--check]';
const DIRECTORY = join(import.meta.dirname, 'generated');

/** Writes the generated files, or with `--check` only says which are stale. Returns the exit code. */
async function main(args: string[]): Promise<number> {
  const check = args[0] === '--check';
  if (args.length > (check ? 1 : 0)) {
    process.stderr.write(`${args.at(check ? 1 : 0)}: unknown argument; ${USAGE}\n`);
    return 2;
  }
  const files = generatedFiles();
  if (!check) {
    await writeFiles(DIRECTORY, files);
    return 0;
  }
  const stale = await staleFiles(DIRECTORY, files);
  for (const name of stale) {
    const path = relative(process.cwd(), join(DIRECTORY, name));
    process.stderr.write(`${path} is not what the schemas in crds/ say; run: npm run generate\n`);
  }
  return stale.length > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
