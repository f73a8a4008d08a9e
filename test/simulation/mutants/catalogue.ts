import { INDIRECT } from './catalogue/indirect.ts';
import { INTERMEDIATE } from './catalogue/intermediate.ts';
import { STALE } from './catalogue/stale.ts';
import { UNOBSERVED } from './catalogue/unobserved.ts';
import type { Mutant } from './mutant.ts';

/** All deliberate bugs. */
export const MUTANTS: readonly Mutant[] = [...STALE, ...INTERMEDIATE, ...UNOBSERVED, ...INDIRECT];
