import { describe, expect, test } from 'vitest';
import { HOST_FINALIZER } from '../../crds/host.ts';
import { linuxHost } from '../../test/builders/host.ts';
import { stored } from '../../test/builders/stored.ts';
import { decideHost, RETELL_HOST_AFTER_MS } from './decide.ts';

const host = stored(linuxHost());
const now = Date.parse('2026-05-05T00:00:00Z');

test('a host that is lost is Unknown, and the rest of its status stays', () => {
  const { status } = decideHost({ host, lost: true, holdsVms: true, sinceToldMs: undefined, now });
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
  expect(decideHost({ host: told, lost: true, holdsVms: true, sinceToldMs: 1e9, now: now + 1e9 })).toEqual(
    {},
  );
});

test('a host that is not lost is left to its own node daemon', () => {
  expect(decideHost({ host, lost: false, holdsVms: false, sinceToldMs: undefined, now })).toEqual({});
});

test('a node daemon that writes without a Lease is not answered at once', () => {
  expect(decideHost({ host, lost: true, holdsVms: true, sinceToldMs: 1_000, now })).toEqual({
    requeueAfterMs: RETELL_HOST_AFTER_MS - 1_000,
  });
});

describe('a host that was deleted', () => {
  const deleted = (finalizers: string[]) =>
    stored(linuxHost(), { finalizers, deletionTimestamp: '2026-05-04T00:00:00Z' });
  const both = deleted(['example.com/other', HOST_FINALIZER]);

  test.each([
    ['is let go of when it is lost and nothing is left there', both, true, false, ['example.com/other']],
    ["is its own node daemon's while that renews its Lease", both, false, false, undefined],
    ['stays while Runners are held by it', both, true, true, undefined],
    ['is let go of once', deleted(['example.com/other']), true, false, undefined],
    ['and was not, stays', stored(linuxHost(), { finalizers: [HOST_FINALIZER] }), true, false, undefined],
  ])('%s', (_, object, lost, holdsVms, finalizers) => {
    expect(decideHost({ host: object, lost, holdsVms, sinceToldMs: undefined, now }).finalizers).toEqual(
      finalizers,
    );
  });
});
