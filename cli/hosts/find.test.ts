import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { hostArgument, printedName } from './find.ts';

test.each([
  ['mini-1', undefined, 'mini-1'],
  ['a.b', undefined, 'a.b'],
  ['machost/mini-1', 'MacHost', 'mini-1'],
  ['MacHost/mini-1', 'MacHost', 'mini-1'],
  ['linuxhosts/x', 'LinuxHost', 'x'],
  ['linuxhost.shoesvz.dev/x', 'LinuxHost', 'x'],
])('%s is a host', (text, kind, name) => {
  expect(hostArgument(text)).toEqual({ kind, name });
});

test.each(['', '/', 'node/x', 'machost/', '/x', 'Mini', 'a/b/c', 'a_b', 'linuxhostXshoesvz.dev/x'])(
  '%j is none',
  (text) => {
    expect(() => hostArgument(text)).toThrow(InvalidArgumentError);
  },
);

test('what is printed can be given back', () => {
  const printed = printedName({ kind: 'LinuxHost', metadata: { name: 'x' } });
  expect(printed).toBe('linuxhost.shoesvz.dev/x');
  expect(hostArgument(printed)).toEqual({ kind: 'LinuxHost', name: 'x' });
});
