import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { MUTANTS } from './catalogue.ts';
import { edited } from './mutant.ts';

/** Environment variable that names the mutant of a process that is started with `--import` of this file. */
const NAME = process.env.SHOESVZ_MUTANT;

const mutant = MUTANTS.find(({ name }) => name === NAME);
if (mutant === undefined) throw new Error(`SHOESVZ_MUTANT names no mutant: ${NAME}`);

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Replaces the source as it is loaded, so that nothing in the product knows of mutants. */
registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    const edits = url.startsWith('file:')
      ? mutant.edits.filter(({ file }) => fileURLToPath(url) === `${root}${file}`)
      : [];
    if (edits.length === 0) return loaded;
    return { ...loaded, source: edits.reduce(edited, String(loaded.source)) };
  },
});
