import { describe, expect, test } from 'vitest';
import type { Clock } from './clock.ts';
import { ApiUnreachable } from './errors.ts';
import { guardWrites } from './guarded-client.ts';
import { LEASE_TERM_MS, LeaderElection, RELIED_ON_MS } from './leader-election.ts';
import { LEASE_REF, LeaseServer, type Network } from './testing/lease-server.ts';
import { ManualClock } from './testing/manual-clock.ts';

interface Candidate {
  readonly election: LeaderElection;
  readonly network: Network;
  readonly told: string[];
}

function setup() {
  const clock = new ManualClock();
  const server = new LeaseServer(clock);
  const candidate = (identity: string, own: Clock = clock): Candidate => {
    const network: Network = { state: 'up', delayMs: 0 };
    const told: string[] = [];
    const election = new LeaderElection({
      client: server.kubeClient(network),
      lease: LEASE_REF,
      identity,
      onOtherLeader: (leader) => told.push(`led by ${leader ?? 'nobody'}`),
      onLost: (loss) => told.push(loss),
      onProblem: () => undefined,
      clock: own,
      random: () => 0,
    });
    election.start();
    election.elected.then(
      () => told.push('elected'),
      () => undefined,
    );
    return { election, network, told };
  };
  return { clock, server, candidate };
}

/** Ends a process without a word. */
const kill = ({ network }: Candidate): void => {
  network.state = 'cut';
};

describe('of several candidates', () => {
  test('one leads, and the others know which', async () => {
    const { clock, candidate } = setup();
    const a = candidate('a');
    await clock.advance(0);
    const b = candidate('b');
    await clock.advance(600_000);
    expect([a.election.isLeader, b.election.isLeader]).toEqual([true, false]);
    expect([a.told, b.told]).toEqual([['elected'], ['led by a']]);
    expect([a.election.otherLeader, b.election.otherLeader]).toEqual([undefined, 'a']);
  });

  test('another leads within the term and a look after the leader was killed, whenever that was', async () => {
    for (let afterMs = 20_000; afterMs < 26_000; afterMs += 500) {
      const { clock, candidate } = setup();
      const a = candidate('a');
      await clock.advance(300);
      const b = candidate('b');
      await clock.advance(afterMs);
      kill(a);
      await clock.advance(10_000);
      expect([a.election.isLeader, b.election.isLeader], `after ${afterMs}`).toEqual([false, false]);
      await clock.advance(7_001);
      expect(b.election.isLeader, `after ${afterMs}`).toBe(true);
    }
  });

  test('another leads at once when the leader stops in order', async () => {
    const { clock, candidate } = setup();
    const a = candidate('a');
    await clock.advance(0);
    const b = candidate('b');
    await clock.advance(3_000);
    await a.election.stop();
    await clock.advance(0);
    expect([a.election.isLeader, b.election.isLeader]).toEqual([false, true]);
  });

  test.each([
    ['is deleted', 'Deleted', (server: LeaseServer) => server.delete()],
    ['is taken by force', 'Taken', (server: LeaseServer) => server.patch({ spec: { holderIdentity: 'c' } })],
  ])(
    'a leader whose Lease %s hears of it and leads no more, before another does',
    async (_, loss, change) => {
      const { clock, server, candidate } = setup();
      const a = candidate('a');
      await clock.advance(0);
      const b = candidate('b');
      await clock.advance(3_000);
      change(server);
      await clock.advance(0);
      expect([a.election.isLeader, b.election.isLeader, a.told]).toEqual([false, false, ['elected', loss]]);
      await a.election.stop();
      await clock.advance(20_000);
      expect(b.election.isLeader).toBe(true);
    },
  );
});

describe('a leader that cannot renew', () => {
  test('leads no more some time before another may, and never again', async () => {
    const { clock, server, candidate } = setup();
    const a = candidate('a');
    await clock.advance(0);
    kill(a);
    await clock.advance(RELIED_ON_MS - 1);
    expect(a.election.isLeader).toBe(true);
    await clock.advance(1);
    expect([a.election.isLeader, a.told]).toEqual([false, ['elected', 'Expired']]);
    expect(RELIED_ON_MS).toBeLessThan(LEASE_TERM_MS);
    a.network.state = 'up';
    await clock.advance(10_000);
    expect(a.election.isLeader).toBe(false);
    await a.election.stop();
    expect(server.lease?.spec?.holderIdentity, 'what it holds by accident it lets go of').toBeUndefined();
  });

  test('knows so before any timer has told it, when it was stopped and resumed', async () => {
    const { clock, candidate } = setup();
    let stoppedMs = 0;
    const own: Clock = {
      now: () => clock.now() + stoppedMs,
      monotonic: () => clock.monotonic() + stoppedMs,
      setTimeout: (callback, ms) => clock.setTimeout(callback, ms),
    };
    const { election, told } = candidate('a', own);
    await clock.advance(0);
    stoppedMs = RELIED_ON_MS;
    expect([election.isLeader, told]).toEqual([false, ['elected']]);
  });

  test('goes on where the API server was away for less', async () => {
    const { clock, candidate } = setup();
    const a = candidate('a');
    await clock.advance(6_000);
    a.network.state = 'cut';
    await clock.advance(7_000);
    expect(a.election.problem).toBeDefined();
    a.network.state = 'up';
    await clock.advance(60_000);
    expect([a.election.isLeader, a.election.problem, a.told]).toEqual([true, undefined, ['elected']]);
  });
});

test('a candidate that is stopped while it waits is rejected and leaves no timer', async () => {
  const { clock, candidate } = setup();
  const a = candidate('a');
  await clock.advance(0);
  const b = candidate('b');
  await clock.advance(3_000);
  await b.election.stop();
  await expect(b.election.elected).rejects.toThrow('stopped');
  await a.election.stop();
  expect([clock.timers, a.told, b.told]).toEqual([0, ['elected'], ['led by a']]);
});

test('a guarded client asks before each write, and reads without', async () => {
  const { server } = setup();
  const calls: string[] = [];
  const call = (name: string) => () => {
    calls.push(name);
    return Promise.reject(new Error('no server'));
  };
  const verbs = { get: call('get'), list: call('list'), create: call('create') };
  const writes = { patch: call('patch'), patchStatus: call('patchStatus'), delete: call('delete') };
  const resources = { ...verbs, ...writes };
  const real = {
    ...server.kubeClient({ state: 'up', delayMs: 0 }),
    resources: () => resources,
    server: 'https://api',
    raw: call('raw'),
    version: call('version'),
    close: () => Promise.resolve(),
  };
  let may = true;
  const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: LEASE_REF } as const;
  const guarded = guardWrites(real, () => may).resources({
    group: '',
    version: 'v1',
    plural: 'leases',
    kind: 'Lease',
    namespaced: true,
  });
  const all = () => [
    guarded.get(LEASE_REF),
    guarded.list(),
    guarded.create(lease),
    guarded.patch(LEASE_REF, '1', {}),
    guarded.patchStatus(LEASE_REF, '1', {}),
    guarded.delete(LEASE_REF),
  ];
  await Promise.allSettled(all());
  expect(calls.splice(0)).toEqual(['get', 'list', 'create', 'patch', 'patchStatus', 'delete']);
  may = false;
  const refused = await Promise.allSettled(all());
  expect(calls).toEqual(['get', 'list']);
  const reasons = refused.slice(2).map((result) => result.status === 'rejected' && result.reason);
  expect(reasons.every((reason) => reason instanceof ApiUnreachable && reason.reason === 'Stopped')).toBe(
    true,
  );
});
