import { expect, test } from 'vitest';
import { explain } from './explain.ts';
import { type Demand, MISFITS, type Misfit } from './place.ts';

const demand: Demand = {
  guest: { os: 'macOS', arch: 'arm64' },
  bundle: { name: 'macos-26' },
  amounts: { cpu: 4, memoryBytes: 1, diskBytes: 1 },
  selector: {},
};
const names = { templateName: 'macos-26', className: 'large' };

const say = (counts: Partial<Record<Misfit, number>>, over: Partial<Demand> = {}) =>
  explain(new Map(Object.entries(counts) as [Misfit, number][]), { ...demand, ...over }, names).message;

test('counts come in plain words, the commonest first', () => {
  expect(say({ WithoutTemplate: 1, Cordoned: 1, Full: 2 })).toBe(
    '4 hosts: 2 full, 1 cordoned, 1 without template macos-26',
  );
  expect(say({ NotReady: 1 })).toBe('1 host: 1 not ready');
  expect(say({ NeedsReboot: 2, NotReady: 1 })).toBe('3 hosts: 2 in need of a reboot, 1 not ready');
  expect(say({})).toBe('there are no hosts');
});

test('a bundle that is named otherwise than its template is told', () => {
  expect(say({ WithoutTemplate: 3 }, { bundle: { name: 'm26-r3' } })).toBe(
    '3 hosts: 3 without bundle m26-r3 of template macos-26',
  );
});

test('every reason has words of its own, and all of them together fit a condition', () => {
  const long = 'x'.repeat(253);
  const counts = new Map(MISFITS.map((misfit) => [misfit, 1000] as const));
  const worst = explain(
    counts,
    { ...demand, bundle: { name: long } },
    { templateName: 'y'.repeat(253), className: 'z'.repeat(253) },
  );
  expect(worst.message.length).toBeLessThanOrEqual(1024);
  const phrases = MISFITS.map((misfit) => say({ [misfit]: 1 }));
  expect(new Set(phrases).size).toBe(MISFITS.length);
});
