import { expect, test } from 'vitest';
import { linuxHost } from '../../test/builders/host.ts';
import { stored } from '../../test/builders/stored.ts';
import { decideHost, RETELL_HOST_AFTER_MS } from './decide.ts';

const host = stored(linuxHost());
const now = Date.parse('2026-05-05T00:00:00Z');

test('a host that is lost is Unknown, and the rest of its status stays', () => {
  const { status } = decideHost({ host, lost: true, sinceToldMs: undefined, now });
  expect(status).toEqual({
    ...host.status,
    conditions: [
      {
        type: 'Ready',
        status: 'Unknown',
        reason: 'LeaseStale',
        message: 'the node daemon has stopped renewing its Lease; VMs may still run',
        lastTransitionTime: '2026-05-05T00:00:00.000Z',
        observedGeneration: 1,
      },
    ],
  });
  const told = stored({ ...host, status });
  expect(decideHost({ host: told, lost: true, sinceToldMs: 1e9, now: now + 1e9 })).toEqual({});
});

test('a host that is not lost is left to its own node daemon', () => {
  expect(decideHost({ host, lost: false, sinceToldMs: undefined, now })).toEqual({});
});

test('a node daemon that writes without a Lease is not answered at once', () => {
  expect(decideHost({ host, lost: true, sinceToldMs: 1_000, now })).toEqual({
    requeueAfterMs: RETELL_HOST_AFTER_MS - 1_000,
  });
});
