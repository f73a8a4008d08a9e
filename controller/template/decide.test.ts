import { describe, expect, test } from 'vitest';
import { linuxHost, macHost } from '../../test/builders/host.ts';
import { stored } from '../../test/builders/stored.ts';
import { LINUX_BUNDLE, template } from '../../test/builders/template.ts';
import { decideTemplate, holdsTemplate } from './decide.ts';

const now = Date.parse('2026-05-05T00:00:00Z');

describe('a host holds a template', () => {
  const anyDigest = template({ spec: { source: { bundle: { name: 'linux', digest: undefined } } } });
  const other = { name: 'linux', digest: `sha256:${'9'.repeat(64)}`, os: 'linux', arch: 'amd64' } as const;

  test.each([
    ['of that name and digest', true, template(), linuxHost()],
    ['of that name, when none is pinned', true, anyDigest, linuxHost({ status: { templates: [other] } })],
    ['of another digest', false, template(), linuxHost({ status: { templates: [other] } })],
    ['of another processor', false, template({ spec: { arch: 'arm64' } }), linuxHost()],
    ['of another name', false, template(), macHost()],
    ['when it has not reported', false, template(), linuxHost({ status: undefined })],
  ])('%s: %s', (_what, expected, object, host) => {
    expect(holdsTemplate(host, object)).toBe(expected);
  });
});

test('the status counts hosts and says whether there is one', () => {
  const fresh = stored(
    template({ status: { observedGeneration: -1, hosts: undefined, conditions: undefined } }),
  );
  const status = decideTemplate(fresh, [linuxHost(), linuxHost(), macHost()], now);
  expect(status).toMatchObject({
    observedGeneration: 1,
    hosts: 2,
    conditions: [{ type: 'Ready', status: 'True', reason: 'Available' }],
  });
  expect(decideTemplate(fresh, [macHost()], now)).toMatchObject({
    hosts: 0,
    conditions: [
      {
        type: 'Ready',
        status: 'False',
        reason: 'NoHost',
        message: `no host holds bundle linux with digest ${LINUX_BUNDLE.digest}`,
      },
    ],
  });
});

test('equal facts give an equal status', () => {
  const first = decideTemplate(stored(template()), [linuxHost()], now);
  expect(decideTemplate(stored(template({ status: first })), [linuxHost()], now + 5_000)).toEqual(first);
});
