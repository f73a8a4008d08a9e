import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Condition } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { condition } from '../../test/builders/condition.ts';
import { linuxHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { isPending } from './binder.ts';
import { decide, givenUp, RETELL_AFTER_MS, type RunnerFacts } from './decide.ts';

const NOW = Date.parse('2026-05-05T00:00:00Z');
const host = linuxHost({ metadata: { name: 'h', uid: 'uid-h' } });

const facts = (object: Runner, over: Partial<RunnerFacts> = {}): RunnerFacts => ({
  runner: stored(object),
  verdict: undefined,
  host: 'unknown',
  deadHolds: [],
  lostHolders: [],
  sinceToldMs: undefined,
  ageMs: 0,
  now: NOW,
  ...over,
});
const full = { reason: 'NoHostFits', message: '1 host: 1 full' } as const;
const bound = (overrides?: Overrides<Runner>) => boundRunner(host, overrides);
const of = (conditions: Condition[] | undefined, type: string) =>
  conditions?.find((condition) => condition.type === type);

describe('a Runner that waits', () => {
  test('is told why, with the generation that was judged', () => {
    const { status } = decide(facts(runner(), { verdict: full }));
    expect(status).toMatchObject({ phase: 'Pending', observedGeneration: 1 });
    expect(of(status?.conditions, 'Bound')).toEqual({
      type: 'Bound',
      status: 'False',
      ...full,
      observedGeneration: 1,
      lastTransitionTime: '2026-05-05T00:00:00.000Z',
    });
    expect(of(status?.conditions, 'Ready')).toMatchObject({ status: 'Unknown', reason: 'NotBound' });
  });

  test('is told nothing before it was judged, or once it is dying', () => {
    expect(decide(facts(runner()))).toEqual({});
    const dying = runner({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
    expect(decide(facts(dying, { verdict: full }))).toEqual({});
  });

  test('is not told the same twice', () => {
    const { status } = decide(facts(runner(), { verdict: full }));
    const told = runner({ status: status ?? {} });
    expect(decide(facts(told, { verdict: full, sinceToldMs: 10 * RETELL_AFTER_MS, now: NOW + 1e6 }))).toEqual(
      {},
    );
  });

  test('is told something else when half a minute has passed, and the condition keeps its age', () => {
    const { status } = decide(facts(runner(), { verdict: full }));
    const told = runner({ status: status ?? {} });
    const news = { verdict: { ...full, message: '1 host: 1 cordoned' }, now: NOW + 60_000 };
    expect(decide(facts(told, { ...news, sinceToldMs: 12_000 }))).toEqual({ requeueAfterMs: 18_000 });
    const later = decide(facts(told, { ...news, sinceToldMs: RETELL_AFTER_MS })).status;
    expect(of(later?.conditions, 'Bound')).toMatchObject({
      message: '1 host: 1 cordoned',
      lastTransitionTime: '2026-05-05T00:00:00.000Z',
    });
  });
});

describe('a Runner that waits with a deadline', () => {
  const limited = (status: Overrides<Runner>['status'] = {}) =>
    runner({ spec: { activeDeadlineSeconds: 60 }, status });
  const SHORT_OF_CPU = {
    type: 'Bound',
    status: 'False',
    reason: 'NoHostFits',
    message: '1 host: 1 short',
  } as const;

  test.each<[string, Partial<RunnerFacts>, number]>([
    ['before it was judged', { ageMs: 20_000 }, 40_000],
    ['with a verdict that it is told', { ageMs: 59_999, verdict: full }, 1],
    ['with one that is told later', { ageMs: 20_000, verdict: full, sinceToldMs: 5_000 }, 25_000],
    ['before a verdict may be told', { ageMs: 50_000, verdict: full, sinceToldMs: 5_000 }, 10_000],
  ])('is looked at again when it passes: %s', (_, over, requeueAfterMs) => {
    expect(decide(facts(limited(), over)).requeueAfterMs).toBe(requeueAfterMs);
  });

  test('is over once it has passed, says what it waited for, and is never bound', () => {
    const { status, requeueAfterMs } = decide(facts(limited(), { verdict: full, ageMs: 60_000 }));
    const told = {
      reason: 'DeadlineExceeded',
      message: 'it still waited for a host 60 s after its creation (activeDeadlineSeconds): 1 host: 1 full',
      observedGeneration: 1,
      lastTransitionTime: '2026-05-05T00:00:00.000Z',
    };
    expect(requeueAfterMs).toBeUndefined();
    expect(status).toMatchObject({
      phase: 'Error',
      observedGeneration: 1,
      finishedAt: told.lastTransitionTime,
    });
    expect(of(status?.conditions, 'Bound')).toEqual({ type: 'Bound', status: 'False', ...told });
    expect(of(status?.conditions, 'Stalled')).toEqual({ type: 'Stalled', status: 'True', ...told });
    expect(of(status?.conditions, 'Finished')).toEqual({ type: 'Finished', status: 'True', ...told });
    expect(of(status?.conditions, 'Ready')).toBeUndefined();
    const after = runner({ spec: { activeDeadlineSeconds: 60 }, status: status ?? {} });
    expect(isPending(after, 'there')).toBe(false);
    expect(decide(facts(after, { verdict: full, ageMs: 90_000 }))).toEqual({});
  });

  test('is over at once, whatever it was told shortly before', () => {
    const told = limited({ conditions: [condition('Bound', SHORT_OF_CPU), condition('Ready')] });
    const { status } = decide(facts(told, { sinceToldMs: 1, ageMs: 60_001 }));
    expect(of(status?.conditions, 'Stalled')?.message).toContain('(activeDeadlineSeconds): 1 host: 1 short');
    expect(of(status?.conditions, 'Ready')).toBeUndefined();
  });

  test("is not ended once it is bound or dying: that is its host's, or nobody's", () => {
    const spec = { activeDeadlineSeconds: 60 };
    expect(decide(facts(bound({ spec }), { host: 'present', ageMs: 1e9 }))).toEqual({});
    const dying = runner({ spec, metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
    expect(decide(facts(dying, { ageMs: 1e9 }))).toEqual({});
  });

  test('ends neither early nor late, whatever the limit and the age', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 31 - 1 }),
        fc.double({ min: 0, max: 2 ** 42, noNaN: true }),
        (limit, ageMs) => {
          const { status, requeueAfterMs } = decide(
            facts(runner({ spec: { activeDeadlineSeconds: limit } }), { ageMs }),
          );
          const leftMs = limit * 1000 - ageMs;
          expect(status?.phase).toBe(leftMs <= 0 ? 'Error' : undefined);
          expect(requeueAfterMs).toBe(leftMs <= 0 ? undefined : leftMs);
        },
      ),
    );
  });
});

describe('a Runner of which a start has failed', () => {
  const failure = {
    attempt: 1,
    hostName: 'h',
    reason: 'CloneFailed',
    message: 'no room',
    finishedAt: '2026-05-04T23:59:59Z',
  };
  const failed = bound({ status: { phase: 'Pending', attempt: 1, attempts: [failure] } });

  test('is told nothing while only that keeps it waiting: its node daemon has said so', () => {
    const verdict = { reason: 'BackingOff', message: '1 host: 1 on which a start has just failed' } as const;
    expect(decide(facts(failed, { verdict, host: 'present' }))).toEqual({});
  });

  test('is told what else keeps it waiting, and what has failed', () => {
    const { status } = decide(facts(failed, { verdict: full, host: 'present' }));
    expect(of(status?.conditions, 'Bound')).toMatchObject({
      status: 'False',
      reason: 'NoHostFits',
      message: '1 host: 1 full; 1 of 3 starts have failed, the last on host h: CloneFailed: no room',
    });
    expect(status?.attempts).toEqual([failure]);
  });
});

describe('a Runner that is bound', () => {
  test.each(['present', 'unknown'] as const)('is told nothing while its host is %s', (state) => {
    expect(decide(facts(bound(), { host: state, verdict: full }))).toEqual({});
  });

  test.each([
    [
      'stale',
      'host h has stopped renewing its Lease: the VM may still run there; the Runner waits for it to come back. If it is dead for good, say so by deleting it: kubectl delete machost h',
    ],
    [
      'gone',
      'host h does not exist any more as it was when the Runner was bound to it; the Runner is over once its VM is known to be gone',
    ],
  ] as const)('is HostLost when its host is %s, and keeps the rest of its status', (state, message) => {
    const running = bound({ status: { phase: 'Running', ipAddress: '10.0.0.7', scriptAttempt: 1 } });
    const { status } = decide(facts(running, { host: state, hostKind: 'MacHost' }));
    expect(status).toMatchObject({ phase: 'Running', ipAddress: '10.0.0.7', scriptAttempt: 1 });
    expect(of(status?.conditions, 'Ready')).toMatchObject({ status: 'Unknown', reason: 'HostLost', message });
    expect(of(status?.conditions, 'Bound')).toMatchObject({ status: 'True' });
  });

  test.each(['Finished', 'Error'] as const)('is left alone when it is %s', (phase) => {
    expect(decide(facts(bound({ status: { phase } }), { host: 'gone' }))).toEqual({});
  });
});

describe('a Runner whose host is lost before the gate', () => {
  const booting = bound({ status: { phase: 'Booting', attempt: 1 } });

  test('is told nothing before it was judged: it may be bound elsewhere at once', () => {
    expect(decide(facts(booting, { host: 'stale' }))).toEqual({});
  });

  test.each([
    ['stale', 'host h has stopped renewing its Lease: the VM may still run there'],
    ['gone', 'host h does not exist any more as it was when the Runner was bound to it'],
  ] as const)('is told that it is bound anew, and what stands in the way: %s', (host, what) => {
    const { status } = decide(facts(booting, { host, verdict: { ...full, message: '1 host: 1 not ready' } }));
    expect(of(status?.conditions, 'Ready')).toMatchObject({
      status: 'Unknown',
      reason: 'HostLost',
      message: `${what}; its setup script has not begun, so that it is bound anew as soon as another host fits (1 host: 1 not ready)`,
    });
    expect(status?.phase).toBe('Booting');
  });

  test('is told so, too, where its deadline keeps it from being bound', () => {
    const late = bound({ spec: { activeDeadlineSeconds: 60 }, status: { phase: 'Booting', attempt: 1 } });
    const { status } = decide(facts(late, { host: 'stale', ageMs: 90_000 }));
    expect(status?.phase, 'its VM may run').toBe('Booting');
    expect(of(status?.conditions, 'Ready')).toMatchObject({
      reason: 'HostLost',
      message:
        'host h has stopped renewing its Lease: the VM may still run there; its time is up (activeDeadlineSeconds), and the Runner is over once its VM is known to be gone. If the host is dead for good, say so by deleting it: kubectl delete linuxhost h',
    });
  });

  test.each(['stale', 'gone'] as const)('is looked at again when its deadline passes: host %s', (host) => {
    const limited = bound({ spec: { activeDeadlineSeconds: 60 }, status: { phase: 'Booting', attempt: 1 } });
    expect(decide(facts(limited, { host, ageMs: 20_000 })).requeueAfterMs).toBe(40_000);
    expect(decide(facts(limited, { host, ageMs: 20_000, verdict: full })).requeueAfterMs).toBe(40_000);
  });

  test('is over by its deadline once that host was deleted and nothing holds it', () => {
    const late = bound({ spec: { activeDeadlineSeconds: 60 }, status: { phase: 'Booting', attempt: 1 } });
    const held = decide(facts(late, { host: 'gone', ageMs: 90_000 })).status;
    expect(held?.phase, 'its VM may run').toBe('Booting');
    expect(of(held?.conditions, 'Ready')?.message).toContain('over once its VM is known to be gone');
    const letGo = { ...late, metadata: { ...late.metadata, finalizers: [] } };
    const { status } = decide(facts(letGo, { host: 'gone', ageMs: 90_000 }));
    expect(status).toMatchObject({ phase: 'Error', finishedAt: '2026-05-05T00:00:00.000Z' });
    expect(of(status?.conditions, 'Stalled')).toMatchObject({ status: 'True', reason: 'DeadlineExceeded' });
  });
});

describe('a Runner whose host was deleted', () => {
  const held = bound({ status: { phase: 'Running', attempt: 1, scriptAttempt: 1, ipAddress: '10.0.0.7' } });
  const letGo = { ...held, metadata: { ...held.metadata, finalizers: ['vm.shoesvz.dev/other.3'] } };

  test('is let go of first where that host was declared dead', () => {
    const deadHolds = ['vm.shoesvz.dev/h.1'];
    for (const host of ['stale', 'gone', 'present', 'unknown'] as const) {
      expect(decide(facts(held, { host, deadHolds }))).toEqual({ release: deadHolds });
    }
  });

  test('is over once nothing of the bound attempt is held, where the gate was passed', () => {
    const { status } = decide(facts(letGo, { host: 'gone', sinceToldMs: 1 }));
    expect(status).toMatchObject({
      phase: 'Error',
      finishedAt: '2026-05-05T00:00:00.000Z',
      ipAddress: '10.0.0.7',
    });
    for (const type of ['Stalled', 'Finished']) {
      expect(of(status?.conditions, type)).toMatchObject({ status: 'True', reason: 'HostDeleted' });
    }
    expect(of(status?.conditions, 'Ready')).toBeUndefined();
    expect(decide(facts({ ...letGo, status: status ?? {} } as Runner, { host: 'gone' }))).toEqual({});
  });

  test.each([
    ['while its VM may be there', held, 'gone'],
    ['while that host may come back', letGo, 'stale'],
    [
      'while it is being deleted',
      { ...letGo, metadata: { ...letGo.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
      'gone',
    ],
  ] as const)('is not over %s', (_, object, host) => {
    expect(decide(facts(object, { host })).status?.phase ?? 'Running').toBe('Running');
  });

  test('is bound anew where the gate was not passed', () => {
    const booting = { ...letGo, status: { phase: 'Booting' as const, observedGeneration: 2, attempt: 1 } };
    expect(decide(facts(booting, { host: 'gone' }))).toEqual({});
    expect(isPending(booting, 'gone')).toBe(true);
  });
});

test('what was given up with a lost host is told when it is bound anew, and nothing of a failure or a first binding', () => {
  expect(givenUp(bound())).toBe(
    'attempt 1 is given up: host h was lost before the setup script was permitted to run',
  );
  expect(givenUp(runner())).toBeUndefined();
  const failed = { attempt: 1, hostName: 'h', reason: 'BootTimeout', message: 'no' };
  const attempts = [{ ...failed, finishedAt: '2026-05-05T00:00:00Z' }];
  expect(givenUp(bound({ status: { attempts } }))).toBeUndefined();
});

describe('a Runner that is being deleted', () => {
  const deletionTimestamp = '2026-01-01T00:00:00Z';
  const finalizers = ['vm.shoesvz.dev/h.1', 'vm.shoesvz.dev/g.2'];
  const lostHolders = [{ hostName: 'g', hostKind: 'MacHost' }] as const;
  const dying = (overrides: Overrides<Runner>, left: string[]) => {
    const object = bound({ ...overrides, spec: { ...overrides.spec, binding: { attempt: 1 } } });
    return { ...object, metadata: { ...object.metadata, deletionTimestamp, finalizers: left } };
  };

  test.each(['Running', 'Finished', 'Error'] as const)(
    'is told that it waits for a lost host that holds an attempt of it, and what a person may do: %s',
    (phase) => {
      const held = dying({ status: { phase } }, ['vm.shoesvz.dev/g.2']);
      const { status } = decide(facts(held, { host: 'present', lostHolders }));
      expect(status?.phase).toBe(phase);
      expect(of(status?.conditions, 'Ready')).toMatchObject({
        status: 'Unknown',
        reason: 'HostLost',
        message:
          'host g has stopped renewing its Lease: a VM of the Runner may still run there; the Runner goes when that host is back and has destroyed it. If it is dead for good, say so by deleting it: kubectl delete machost g',
      });
      const told = { ...held, status: status ?? held.status };
      expect(decide(facts(told as Runner, { host: 'present', lostHolders }))).toEqual({});
    },
  );

  test('is left to the host that has its VM as long as that answers', () => {
    const held = dying({ status: { phase: 'TearingDown' } }, finalizers);
    expect(decide(facts(held, { host: 'present', lostHolders }))).toEqual({});
  });
});
