import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { MUTANTS } from './catalogue.ts';
import type { Catch } from './hunt.ts';
import { edited, PEERS_BUGS } from './mutant.ts';
import { BOUND, catchMutants } from './run.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
describe('the catalogue of mutants', () => {
  test('names each once, and has enough of every kind', () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
    expect(MUTANTS.length).toBeGreaterThanOrEqual(25);
    for (const of of ['stale', 'intermediate', 'unobserved'] as const) {
      expect(MUTANTS.filter((mutant) => mutant.class === of).length, of).toBeGreaterThanOrEqual(5);
    }
    const peers = new Set(MUTANTS.map((mutant) => mutant.peers));
    for (const bug of PEERS_BUGS) expect(peers, 'the bugs of the peers').toContain(bug);
    const lines = new Set(MUTANTS.map(({ line }) => line));
    for (let line = 1; line <= 13; line += 1) expect(lines, 'lines of the binding protocol').toContain(line);
  });

  test.each(MUTANTS)('$name replaces what stands there once, and leaves TypeScript', async ({ edits }) => {
    for (const file of new Set(edits.map((edit) => edit.file))) {
      const source = await readFile(`${ROOT}${file}`, 'utf8');
      const mutated = edits.filter((edit) => edit.file === file).reduce(edited, source);
      expect(() => stripTypeScriptTypes(mutated)).not.toThrow();
    }
  });
});

describe('the simulator', () => {
  let found: ReadonlyMap<string, Catch>;

  beforeAll(async () => {
    found = await catchMutants({ workers: availableParallelism(), isQuick: true });
  }, 3_600_000);

  test.each(MUTANTS)('catches $name', ({ name }) => {
    const violation = found.get(name)?.violation;
    expect(violation, `within ${BOUND} seeds`).toBeDefined();
    expect(violation, 'a mutant that breaks down proves nothing').not.toMatch(/^unexpected/);
  });
});
