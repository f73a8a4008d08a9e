import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { guestCommand } from './guest-command.ts';
import * as programs from './script-programs.ts';

const run = (command: string): string => execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' });

describe('guestCommand', () => {
  test('hands arguments over as they are, through a login shell', () => {
    const argument = fc
      .string({ unit: 'binary', maxLength: 30 })
      .filter((text) => !text.includes('\0') && text.isWellFormed());
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 40 }), (args) => {
        const seen = run(guestCommand('for a in "$@"; do printf "%s|" "$a"; done', args));
        expect(seen).toBe(args.map((text) => `${text}|`).join(''));
      }),
      { numRuns: 8 },
    );
  });

  test.each(Object.entries(programs))(
    '%s has nothing that login shells read differently',
    (_name, program) => {
      expect(program).not.toMatch(/['\\]/);
    },
  );

  test.each(Object.entries(programs))('%s is a shell program', (_name, program) => {
    expect(() =>
      execFileSync('/bin/sh', ['-n'], { input: program, stdio: ['pipe', 'pipe', 'pipe'] }),
    ).not.toThrow();
  });
});
