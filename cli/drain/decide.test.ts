import { describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { condition } from '../../test/builders/condition.ts';
import { linuxHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { certainlyRunsNoJob, type Deletes, occupantsOf, runnerName } from './decide.ts';

const host = stored(linuxHost({ metadata: { name: 'host.a', uid: 'uid-a' } }));
const NOW = Date.parse('2026-01-01T00:00:00Z');

const bound = (name: string, overrides?: Overrides<Runner>): Stored<Runner> =>
  stored(boundRunner(host, { ...overrides, metadata: { ...overrides?.metadata, name } }));

const fates = (runners: readonly Stored<Runner>[], deletes: Deletes): string[] =>
  occupantsOf(host, runners, deletes, NOW).map(({ runner, fate }) => `${fate} ${runnerName(runner)}`);

/** SSH answers; what more there is to say of its guest. */
const inUse = (status: Partial<RunnerStatus>, spec: Overrides<Runner['spec']> = {}): Stored<Runner> =>
  bound('r', {
    spec: { setupScript: { inline: 'x' }, ...spec },
    status: {
      attempt: 1,
      phase: 'Running',
      conditions: [condition('Bound'), condition('SSHReady'), condition('Ready')],
      ...status,
    },
  });

describe('who keeps a host from being drained', () => {
  test('is whoever is bound to it or held by its finalizers, and nobody else', () => {
    const elsewhere = stored(linuxHost({ metadata: { name: 'host.b', uid: 'uid-b' } }));
    const namesake = stored(linuxHost({ metadata: { name: 'host.a', uid: 'uid-z' } }));
    const attempts = [
      {
        attempt: 1,
        hostName: 'host.a',
        reason: 'BootTimeout',
        message: 'too slow',
        finishedAt: '2026-01-01T00:00:00Z',
      },
    ];
    const runners = [
      bound('bound'),
      bound('over', { status: { phase: 'Finished' } }),
      bound('unheld', { metadata: { finalizers: [] } }),
      stored(boundRunner(elsewhere, { metadata: { name: 'other' } })),
      stored(
        boundRunner(elsewhere, { metadata: { name: 'left', finalizers: [finalizerName('host.a', 1)] } }),
      ),
      stored(boundRunner(namesake, { metadata: { name: 'of-namesake', finalizers: ['example.com/x'] } })),
      stored(runner({ metadata: { name: 'pending' } })),
      stored(
        runner({
          metadata: { name: 'shorter', finalizers: ['vm.shoesvz.dev/host.1', 'vm.shoesvz.dev/a.1'] },
        }),
      ),
      stored(runner({ metadata: { name: 'longer', finalizers: ['vm.shoesvz.dev/host.a.1.1'] } })),
      bound('failed', { status: { attempts } }),
      bound('rebinding', { status: { attempts }, metadata: { finalizers: [] } }),
      bound('done', { status: { phase: 'Finished' }, metadata: { finalizers: [] } }),
    ];
    expect(fates(runners, 'none')).toEqual(
      ['bound', 'failed', 'left', 'over', 'unheld'].map((name) => `wait default/${name}`),
    );
  });

  test('is told with what it does', () => {
    const [waiting] = occupantsOf(host, [inUse({ guest: { state: 'Running' } })], 'none', NOW);
    expect(waiting?.says).toBe('Its Actions runner has a job; the Runner is over when the job is.');
  });
});

describe('what is deleted', () => {
  const all = [
    bound('starting'),
    bound('dying', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
    bound('over', { status: { phase: 'Error' } }),
    stored(
      boundRunner(stored(linuxHost()), {
        metadata: { name: 'left', finalizers: [finalizerName('host.a', 1)] },
        spec: { binding: { attempt: 2 } },
      }),
    ),
    inUse({ scriptAttempt: 1, guest: { state: 'Running' } }),
  ];

  test('is nothing unless it is asked for', () => {
    expect(fates(all, 'none').filter((fate) => fate.startsWith('delete'))).toEqual([]);
  });

  test('is what certainly runs no job', () => {
    expect(fates(all, 'idle').filter((fate) => fate.startsWith('delete'))).toEqual([
      'delete default/starting',
    ]);
  });

  test('is all that is bound here and does not end by itself, by force', () => {
    expect(fates(all, 'all').filter((fate) => fate.startsWith('delete'))).toEqual([
      'delete default/r',
      'delete default/starting',
    ]);
  });
});

describe('certainly without a job', () => {
  test.each<[string, Stored<Runner>, boolean]>([
    ['not taken up by its host', bound('r'), true],
    ['status of an earlier attempt', inUse({ attempt: 3, guest: { state: 'Running' } }), true],
    ['booting', inUse({ phase: 'Booting', conditions: [condition('SSHReady', { status: 'False' })] }), true],
    ['script not begun', inUse({ phase: 'SSHReady' }), true],
    ['script not begun, but the template runs a job', inUse({ guest: { state: 'Running' } }), false],
    ['script runs, no agent', inUse({ scriptAttempt: 1 }), false],
    ['script runs, no Actions runner yet', inUse({ scriptAttempt: 1, guest: { state: 'NoRunner' } }), true],
    ['Actions runner starts', inUse({ scriptAttempt: 1, guest: { state: 'Starting' } }), false],
    ['Actions runner idle', inUse({ scriptAttempt: 1, guest: { state: 'Idle' } }), true],
    ['Actions runner has a job', inUse({ scriptAttempt: 1, guest: { state: 'Running' } }), false],
    ['Actions runner has finished', inUse({ scriptAttempt: 1, guest: { state: 'Finished' } }), false],
    [
      'idle when last heard of, on a host that is lost',
      inUse({
        scriptAttempt: 1,
        guest: { state: 'Idle' },
        conditions: [condition('SSHReady'), condition('Ready', { status: 'Unknown', reason: 'HostLost' })],
      }),
      false,
    ],
    [
      'the script is the job',
      inUse({ scriptAttempt: 1, guest: { state: 'NoRunner' } }, { completion: 'Script' }),
      false,
    ],
    [
      'a workbench that somebody may use',
      inUse({ guest: { state: 'NoRunner' } }, { completion: 'Never', setupScript: undefined }),
      false,
    ],
    ['no script, no agent', inUse({}, { setupScript: undefined }), false],
    ['torn down', inUse({ phase: 'TearingDown' }), false],
    ['not bound', stored(runner()), false],
  ])('%s', (_, object, expected) => {
    expect(certainlyRunsNoJob(object)).toBe(expected);
  });
});
