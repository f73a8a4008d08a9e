import { expect, test } from 'vitest';
import { ApiError } from '../../kube/errors.ts';
import type { Lease, LeaseHolder } from '../../kube/lease.ts';
import type { Logger } from '../../kube/log.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import { ManualClock, settle } from '../../kube/testing/manual-clock.ts';
import { claimName, HostNameTakenError } from './claim-name.ts';

/** The one Lease of an API server, fenced as there. */
class LeaseStore {
  lease: Stored<Lease> | undefined;
  failure: Error | undefined;
  #version = 0;

  put(spec: NonNullable<Lease['spec']>): Stored<Lease> {
    this.lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: 'h',
        uid: 'u',
        creationTimestamp: '2026-01-01T00:00:00Z',
        resourceVersion: String(++this.#version),
      },
      spec,
    };
    return this.lease;
  }

  async get(_ref: ObjectRef): Promise<Stored<Lease> | undefined> {
    if (this.failure !== undefined) throw this.failure;
    return this.lease;
  }

  async create(lease: Lease): Promise<Stored<Lease>> {
    if (this.failure !== undefined) throw this.failure;
    if (this.lease !== undefined) throw new ApiError(409, 'AlreadyExists', 'exists');
    return this.put(lease.spec ?? {});
  }

  async patch(_ref: ObjectRef, resourceVersion: string, patch: Partial<Lease>): Promise<Stored<Lease>> {
    if (this.lease?.metadata.resourceVersion !== resourceVersion)
      throw new ApiError(409, 'Conflict', 'stale');
    return this.put({ ...this.lease.spec, ...patch.spec });
  }
}

function claim(leases: LeaseStore, clock: ManualClock, signal?: AbortSignal) {
  const line = () => undefined;
  const log: Logger = { debug: line, info: line, warn: line, error: line };
  const outcome: { holder?: LeaseHolder; error?: unknown } = {};
  const claimed = claimName({ leases, name: 'h', machineId: 'me', clock, log, signal, changed: line }).then(
    (holder) => {
      outcome.holder = holder;
    },
    (error: unknown) => {
      outcome.error = error;
    },
  );
  return { outcome, claimed };
}

const held = (clock: ManualClock, agoMs: number) => ({
  holderIdentity: 'other',
  leaseDurationSeconds: 40,
  renewTime: new Date(clock.now() - agoMs).toISOString(),
});

test('a name that nobody has is claimed at once', async () => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  const { outcome, claimed } = claim(leases, clock);
  await claimed;
  expect(outcome.holder?.isFresh).toBe(true);
  expect(leases.lease?.spec?.holderIdentity).toBe('me');
  await outcome.holder?.stop({ release: true });
  await settle();
  expect(clock.timers).toBe(0);
});

test('a name that another renews is refused at once, and its Lease is left alone', async () => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  const theirs = leases.put(held(clock, 5_000));
  const { outcome, claimed } = claim(leases, clock);
  await claimed;
  expect(outcome.error).toBeInstanceOf(HostNameTakenError);
  expect(String(outcome.error)).toContain('the host name "h" is taken: machine other serves it now');
  expect(leases.lease).toBe(theirs);
  await settle();
  expect(clock.timers).toBe(0);
});

test('a holder whose clock is far behind shows that it lives by renewing', async () => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  leases.put(held(clock, 3_600_000));
  const { outcome, claimed } = claim(leases, clock);
  await clock.advance(9_000);
  expect(outcome).toEqual({});
  leases.put(held(clock, 3_600_000));
  await clock.advance(3_000);
  await claimed;
  expect(outcome.error).toBeInstanceOf(HostNameTakenError);
});

test('the Lease of a dead machine is taken over, but not before it was watched for its term', async () => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  leases.put(held(clock, 3_600_000));
  const { outcome, claimed } = claim(leases, clock);
  await clock.advance(39_000);
  expect(outcome).toEqual({});
  expect(leases.lease?.spec?.holderIdentity).toBe('other');
  await clock.advance(5_000);
  await claimed;
  expect(outcome.holder?.isFresh).toBe(true);
  expect(leases.lease?.spec?.holderIdentity).toBe('me');
  await outcome.holder?.stop({ release: false });
});

test('a claim that waits can be ended', async () => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  leases.put(held(clock, 3_600_000));
  const stop = new AbortController();
  const { outcome, claimed } = claim(leases, clock, stop.signal);
  await clock.advance(1_000);
  stop.abort(new Error('stopped'));
  await claimed;
  expect(outcome.error).toEqual(new Error('stopped'));
  await settle();
  expect(clock.timers).toBe(0);
});

test.each([
  [
    new ApiError(404, 'NotFound', 'namespaces "shoesvz-system" not found', { kind: 'namespaces' }),
    'the namespace shoesvz-system is missing on the API server; create it',
  ],
  [new ApiError(403, 'Forbidden', 'leases is forbidden'), 'leases is forbidden'],
])('an API server that does not let it: %s', async (failure, message) => {
  const [leases, clock] = [new LeaseStore(), new ManualClock()];
  leases.failure = failure;
  const { outcome, claimed } = claim(leases, clock);
  await claimed;
  expect(outcome.error).toMatchObject({ message });
  await settle();
  expect(clock.timers).toBe(0);
});
