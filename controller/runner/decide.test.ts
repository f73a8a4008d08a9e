import { describe, expect, test } from 'vitest';
import type { Condition } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { linuxHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { decide, RETELL_AFTER_MS, type RunnerFacts } from './decide.ts';

const NOW = Date.parse('2026-05-05T00:00:00Z');
const host = linuxHost({ metadata: { name: 'h', uid: 'uid-h' } });

const facts = (object: Runner, over: Partial<RunnerFacts> = {}): RunnerFacts => ({
  runner: stored(object),
  verdict: undefined,
  host: 'unknown',
  sinceToldMs: undefined,
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

describe('a Runner that is bound', () => {
  test.each(['present', 'unknown'] as const)('is told nothing while its host is %s', (state) => {
    expect(decide(facts(bound(), { host: state, verdict: full }))).toEqual({});
  });

  test.each([
    ['stale', 'host h has stopped renewing its Lease: the VM may still run there'],
    ['gone', 'host h does not exist any more as it was when the Runner was bound to it'],
  ] as const)('is HostLost when its host is %s, and keeps the rest of its status', (state, message) => {
    const running = bound({ status: { phase: 'Running', ipAddress: '10.0.0.7', scriptAttempt: 1 } });
    const { status } = decide(facts(running, { host: state }));
    expect(status).toMatchObject({ phase: 'Running', ipAddress: '10.0.0.7', scriptAttempt: 1 });
    expect(of(status?.conditions, 'Ready')).toMatchObject({ status: 'Unknown', reason: 'HostLost', message });
    expect(of(status?.conditions, 'Bound')).toMatchObject({ status: 'True' });
  });

  test.each(['Finished', 'Error'] as const)('is left alone when it is %s', (phase) => {
    expect(decide(facts(bound({ status: { phase } }), { host: 'gone' }))).toEqual({});
  });
});
