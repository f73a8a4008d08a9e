import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { MUTANTS } from './catalogue.ts';
import known from './caught.json' with { type: 'json' };
import { type Catch, hunt } from './hunt.ts';
import type { Mutant } from './mutant.ts';

/** Seeds by which each mutant must be caught. */
export const BOUND = 300;

/** Seeds that caught the mutants when they were last looked for. */
const KNOWN: Readonly<Record<string, number>> = known;
const RECORD = fileURLToPath(new URL('./caught.json', import.meta.url));

export interface MutantsOptions {
  /** Default: all. */
  readonly mutants?: readonly Mutant[] | undefined;
  /** Default: {@link BOUND}. */
  readonly seeds?: number | undefined;
  /** Processes at a time. */
  readonly workers: number;
  /**
   * False: from seed 0 on, so that the first seed that catches a mutant is found. True: the seed that caught it last
   * time comes first. What a seed means changes with the faults that are drawn from it.
   */
  readonly isQuick: boolean;
  readonly onCaught?: ((mutant: Mutant, caught: Catch | undefined) => void) | undefined;
}

/** Lets each mutant live until it is caught. Those that were, by name. */
export async function catchMutants(options: MutantsOptions): Promise<Map<string, Catch>> {
  const { mutants = MUTANTS, seeds = BOUND, workers, isQuick, onCaught } = options;
  const found = new Map<string, Catch>();
  const waiting = [...mutants];
  const work = async (): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const last = isQuick ? KNOWN[mutant.name] : undefined;
      const again = last === undefined ? undefined : await hunt(mutant, last, 1);
      const caught = again ?? (await hunt(mutant, 0, seeds));
      if (caught !== undefined) found.set(mutant.name, caught);
      onCaught?.(mutant, caught);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  return found;
}

export interface TellOptions extends Omit<MutantsOptions, 'mutants' | 'onCaught'> {
  /** Names; default: all. */
  readonly only?: readonly string[] | undefined;
  /** Writes down what caught each mutant. */
  readonly updates: boolean;
  readonly say: (line: string) => void;
}

/** Prints a table of what catches each mutant. Whether all are caught. */
export async function tellMutants({ only, updates, say, ...options }: TellOptions): Promise<boolean> {
  const unknown = only?.filter((one) => MUTANTS.every(({ name }) => name !== one)) ?? [];
  if (unknown.length > 0) throw new Error(`there is no mutant ${unknown.join(', ')}`);
  const mutants = MUTANTS.filter(({ name }) => only === undefined || only.includes(name));
  say('| mutant | class | line | caught by seed | invariant that it breaks |');
  say('| --- | --- | --- | --- | --- |');
  const onCaught = (mutant: Mutant, caught: Catch | undefined): void => say(row(mutant, caught));
  const found = await catchMutants({ ...options, mutants, onCaught });
  if (updates) await record(found);
  say(`\n${found.size} of ${mutants.length} mutants were caught within ${options.seeds ?? BOUND} seeds`);
  return found.size === mutants.length;
}

function row({ name, class: of, line }: Mutant, caught: Catch | undefined): string {
  const { seed = 'not caught', violation = '' } = caught ?? {};
  const what = violation.length > 100 ? `${violation.slice(0, 100)}…` : violation;
  return `| ${name} | ${of} | ${line ?? ''} | ${seed} | ${what.replaceAll('|', '/').replaceAll('\n', ' ')} |`;
}

/** What was not looked for stays as it was recorded. */
async function record(found: ReadonlyMap<string, Catch>): Promise<void> {
  const entries = MUTANTS.flatMap(({ name }) => {
    const seed = found.get(name)?.seed ?? KNOWN[name];
    return seed === undefined ? [] : [[name, seed] as const];
  });
  await writeFile(RECORD, `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`);
}
