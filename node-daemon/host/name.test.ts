import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CONTROLLER_LEASE } from '../../crds/meta.ts';
import { DnsName } from '../../crds/scalars.ts';
import { HOST_NAME_MAX, hostNameFrom, hostNameProblem } from './name.ts';

test.each([
  ['mini-01', 'mini-01'],
  ['Johns-Mac-mini.local', 'johns-mac-mini'],
  ['build_host.example.COM', 'build-host.example.com'],
  ['-odd-.-name-', 'odd.name'],
  ['a'.repeat(60), 'a'.repeat(HOST_NAME_MAX)],
  [`${'a'.repeat(HOST_NAME_MAX - 1)}.example.com`, 'a'.repeat(HOST_NAME_MAX - 1)],
  ['マック', undefined],
  ['', undefined],
  [CONTROLLER_LEASE, undefined],
])('the machine %j is the host %j', (hostname, expected) => {
  expect(hostNameFrom(hostname)).toBe(expected);
});

test('whatever a machine is called, its host name is accepted', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 120 }), (hostname) => {
      const name = hostNameFrom(hostname);
      if (name === undefined) return;
      expect(hostNameProblem(name)).toBeUndefined();
      expect(DnsName.safeParse(name).success).toBe(true);
    }),
  );
});

test('a valid name of bounded length is kept as it is', () => {
  const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?$/);
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 3 }), (labels) => {
      const name = labels.join('.');
      fc.pre(name.length <= HOST_NAME_MAX && !name.endsWith('.local'));
      expect(hostNameFrom(name)).toBe(name);
    }),
  );
});

test.each([
  ['Mini', /lower-case/],
  ['a_b', /lower-case/],
  ['a..b', /lower-case/],
  ['', /lower-case/],
  ['a'.repeat(HOST_NAME_MAX + 1), /at most 52 characters/],
  [CONTROLLER_LEASE, /the controller's own Lease/],
])('%j is refused with what would be right', (name, problem) => {
  expect(hostNameProblem(name)).toMatch(problem);
});
