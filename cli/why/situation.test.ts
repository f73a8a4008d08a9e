import { describe, expect, test } from 'vitest';
import { RUNNER_PHASES, type Runner, type RunnerStatus } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { OUTCOME_REASONS } from '../../node-daemon/vm/metadata.ts';
import { condition } from '../../test/builders/condition.ts';
import { linuxHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { template } from '../../test/builders/template.ts';
import { adviceForOutcome } from './advice.ts';
import { situationOf } from './situation.ts';

const CREATED = Date.parse('2026-01-01T00:00:00Z');
const host = linuxHost({ metadata: { name: 'host-a', uid: 'uid-a' } });
const script = { setupScript: { inline: 'x' } };

const waiting = (reason: string, message: string, overrides?: Overrides<Runner>): Stored<Runner> =>
  stored(
    runner({
      status: { conditions: [condition('Bound', { status: 'False', reason, message })] },
      ...overrides,
    }),
  );

/** Its first start has failed. */
const waitingAnew = (reason: string, message: string): Stored<Runner> =>
  stored(
    boundRunner(host, {
      status: {
        attempt: 1,
        attempts: [
          {
            attempt: 1,
            hostName: 'host-a',
            reason: 'CloneFailed',
            message: 'no room',
            finishedAt: new Date(CREATED + 400).toISOString(),
          },
        ],
        conditions: [condition('Bound', { status: 'False', reason, message })],
      },
    }),
  );

/** Taken up by its host. */
const at = (
  phase: RunnerStatus['phase'],
  ready: Overrides<ReturnType<typeof condition>> | undefined,
  overrides?: Overrides<Runner>,
): Stored<Runner> =>
  stored(
    boundRunner(host, {
      ...overrides,
      spec: { ...script, ...overrides?.spec },
      status: {
        ...overrides?.status,
        phase,
        attempt: 1,
        conditions: [condition('Bound'), ...(ready === undefined ? [] : [condition('Ready', ready)])],
      },
    }),
  );

const over = (phase: 'Finished' | 'Error', reason: string, overrides?: Overrides<Runner>): Stored<Runner> => {
  const conditions = ['Finished', ...(phase === 'Error' ? ['Stalled'] : [])].map((type) =>
    condition(type, { reason, message: `as ${reason} says` }),
  );
  return stored(
    boundRunner(host, { ...overrides, status: { ...overrides?.status, phase, attempt: 1, conditions } }),
  );
};

const unready = { status: 'False', reason: 'Any', message: 'any' } as const;
const guest = (state: 'Idle' | 'Running' | 'NoRunner' | 'Finished') => ({ status: { guest: { state } } });
const deleting = { metadata: { deletionTimestamp: '2026-01-01T00:00:01Z' } };

const says: readonly (readonly [Stored<Runner>, string])[] = [
  [stored(runner()), 'It has just been created.'],
  [waiting('NoHostFits', '1 host: 1 full'), 'It waits for a host: 1 host: 1 full.'],
  [
    waitingAnew('AttemptFailed', '1 of 3 starts have failed; attempt 1 on host host-a: CloneFailed: no room'),
    'It is started anew, at once where another host fits, on host-a in 400 ms at the earliest: 1 of 3 starts have failed; attempt 1 on host host-a: CloneFailed: no room.',
  ],
  [waitingAnew('NoHostFits', '1 host: 1 full'), 'It waits for a host: 1 host: 1 full.'],
  [stored(boundRunner(host)), 'It is bound to host-a, and waits for the node daemon there to take it up.'],
  [
    at('Creating', unready),
    'Its template is being cloned; it is given up after 2 min (spec.timeouts.clone).',
  ],
  [
    at('Creating', unready, { spec: { timeouts: { clone: '90s' } } }),
    'Its template is being cloned; it is given up after 1 min 30 s (spec.timeouts.clone).',
  ],
  [
    at('Booting', unready),
    'Its VM boots and does not answer SSH yet; it is given up after 5 min (spec.timeouts.boot).',
  ],
  [at('SSHReady', unready), 'Its setup script runs; it is given up after 30 min (spec.timeouts.setup).'],
  [
    at('SSHReady', { ...unready, reason: 'SetupWaiting', message: 'the Secret setup is missing' }),
    'It waits to run its setup script: the Secret setup is missing; it is given up after 30 min (spec.timeouts.setup).',
  ],
  [
    at('Running', unready, { spec: { completion: 'Script' } }),
    'Its setup script runs; it is given up after 6 h (spec.timeouts.setup).',
  ],
  [at('Running', {}, { spec: { completion: 'Never' } }), 'It is ready, and stays until it is deleted.'],
  [
    at('Running', {}, { spec: { completion: 'Script' } }),
    'It is ready, and is over when its setup script exits.',
  ],
  [at('Running', {}, guest('Idle')), 'It is ready, and its Actions runner waits for a job.'],
  [at('Running', {}, guest('Running')), 'Its Actions runner has a job; the Runner is over when the job is.'],
  [at('Running', {}, guest('Finished')), 'Its Actions runner has finished.'],
  [at('Running', {}), 'It is ready, and waits for its Actions runner.'],
  [
    at('Running', {}, { status: { setup: { exitCode: 0 }, guest: { state: 'NoRunner' } } }),
    'It is ready, and waits for an Actions runner to show in the guest; it is given up 2 min after its setup script exited.',
  ],
  [
    at('Running', { status: 'Unknown', reason: 'VmUnknown', message: 'the VM does not answer' }),
    'the VM does not answer.',
  ],
  [
    at('Running', {
      status: 'Unknown',
      reason: 'HostLost',
      message: 'host host-a has stopped renewing its Lease',
    }),
    'host host-a has stopped renewing its Lease.',
  ],
  [
    at('TearingDown', {
      ...unready,
      reason: 'JobFinished',
      message: 'the Actions runner has finished its job',
    }),
    'Its VM is being destroyed: the Actions runner has finished its job.',
  ],
  [at('Running', {}, deleting), 'It is being deleted, and goes when host-a has destroyed its VM.'],
  [
    at('Running', { status: 'Unknown', reason: 'HostLost' }, deleting),
    'It is being deleted, and goes when host-a has destroyed its VM; the node daemon there does not answer.',
  ],
  [stored(runner(deleting)), 'It is being deleted.'],
  [
    stored(runner({ metadata: { ...deleting.metadata, finalizers: ['example.com/audit'] } })),
    "It is being deleted, and held by finalizers that are not shoes-vz's: example.com/audit.",
  ],
  [over('Finished', 'JobFinished'), 'It is over: as JobFinished says.'],
  [over('Error', 'BootTimeout'), 'It failed: as BootTimeout says.'],
];

describe('what a Runner waits for, or how it ended', () => {
  test.each(says.map(([object, text]) => [object.status?.phase ?? '', text, object] as const))(
    '%s: %s',
    (_, text, object) => {
      expect(situationOf(object, CREATED + 1_000).says).toBe(text);
    },
  );

  const limited = { spec: { activeDeadlineSeconds: 90 } };
  const until = 'Whatever it does, it ends in 1 min 29 s (spec.activeDeadlineSeconds).';

  test.each([
    [waiting('NoHostFits', '1 host: 1 full', limited), `It waits for a host: 1 host: 1 full. ${until}`],
    [at('Running', {}, limited), `It is ready, and waits for its Actions runner. ${until}`],
    [at('TearingDown', unready, limited), 'Its VM is being destroyed: any.'],
    [at('Running', { status: 'Unknown', reason: 'HostLost', message: 'lost' }, limited), 'lost.'],
    [over('Error', 'DeadlineExceeded', limited), 'It failed: as DeadlineExceeded says.'],
  ])('tells of a deadline that is still to come: %#', (object, text) => {
    const created = {
      ...object,
      metadata: { ...object.metadata, creationTimestamp: '2026-01-01T00:00:00Z' },
    };
    expect(situationOf(created, CREATED + 1_000).says).toBe(text);
  });

  test('names the limits of its Template where it has none', () => {
    const named = template({ spec: { timeouts: { boot: '90s', setup: '10m' } } });
    const booting = at('Booting', unready, { spec: { timeouts: { setup: '1m' } } });
    expect(situationOf(booting, CREATED, named).says).toContain(
      'it is given up after 1 min 30 s (spec.timeouts.boot of Template linux).',
    );
    const running = at('Running', unready, { spec: { timeouts: { setup: '1m' } } });
    expect(situationOf(running, CREATED, named).says).toContain(
      'it is given up after 1 min (spec.timeouts.setup).',
    );
  });

  test('tells when what is over goes by itself', () => {
    const object = over('Finished', 'JobFinished', {
      spec: { ttlSecondsAfterFinished: 3_600 },
      status: { finishedAt: '2026-01-01T00:00:00Z' },
    });
    expect(situationOf(object, CREATED + 600_000).says).toBe(
      'It is over: as JobFinished says. The object is deleted in 50 min (spec.ttlSecondsAfterFinished).',
    );
    const dying = { ...object, metadata: { ...object.metadata, ...deleting.metadata } };
    expect(situationOf(dying, CREATED).says).not.toContain('ttlSecondsAfterFinished');
  });

  test('is told in every phase', () => {
    const phases = new Set(says.map(([{ status }]) => status?.phase));
    expect(RUNNER_PHASES.filter((phase) => !phases.has(phase))).toEqual([]);
  });

  test('says after a while that no controller looks', () => {
    const unseen = situationOf(stored(runner()), CREATED + 60_000);
    expect(unseen.says).toBe('It waits for the controller, which has not looked at it yet.');
    expect(unseen.advice).toContain('Does the controller run');
  });
});

describe('what one would do about a Runner that waits', () => {
  test.each([
    ['TemplateNotFound', {}, 'Create the Template linux'],
    ['ClassNotFound', {}, 'Create the RunnerClass small'],
    ['ClassNotFound', { spec: { className: undefined } }, 'default RunnerClass'],
    ['NoHostFits', {}, 'bound by itself as soon as a host fits'],
    ['BindingRefused', {}, 'permissions'],
    ['SomethingNew', {}, 'kubectl get machosts,linuxhosts'],
  ])('with %s %o: %s', (reason, overrides, advice) => {
    expect(situationOf(waiting(reason, 'why', overrides), CREATED)).toMatchObject({
      reason,
      advice: expect.stringContaining(advice),
    });
  });

  test('is nothing, as long as all goes well', () => {
    for (const phase of ['Creating', 'Booting', 'Running'] as const) {
      expect(situationOf(at(phase, unready), CREATED).advice).toBeUndefined();
    }
  });
});

describe('what one would do about a Runner whose host is lost', () => {
  const lost = { status: 'Unknown', reason: 'HostLost', message: 'host host-a has stopped' } as const;

  test.each([
    [
      'whose script may run there',
      { status: { scriptAttempt: 1 } },
      'It goes on when the node daemon of host-a is back',
    ],
    ['whose script has not begun', {}, 'Nothing is to be done where another host has room'],
    [
      'that is being deleted',
      deleting,
      'If the machine is dead for good, say so by deleting its host object',
    ],
  ])('%s', (_, overrides, advice) => {
    expect(situationOf(at('Running', lost, overrides), CREATED)).toMatchObject({
      reason: 'HostLost',
      advice: expect.stringContaining(advice),
    });
  });
});

describe('what one would do about a Runner that is over', () => {
  const anew = ' A Runner that has failed is never started again: create another one.';
  const unknown = adviceForOutcome('SomethingNew', runner());

  test.each(OUTCOME_REASONS)('for %s', (reason) => {
    const isGood = reason === 'JobFinished' || reason === 'ScriptSucceeded';
    const {
      says: text,
      advice,
      reason: told,
    } = situationOf(over(isGood ? 'Finished' : 'Error', reason), CREATED);
    expect(text).toBe(`${isGood ? 'It is over' : 'It failed'}: as ${reason} says.`);
    expect(told).toBe(reason);
    expect(advice === 'Nothing is left to be done.').toBe(isGood);
    expect(advice).toMatch(/^[A-Z].*[.?]$/);
    expect(advice?.endsWith(anew)).toBe(!isGood);
    expect(advice).not.toBe(unknown + anew);
  });

  test.each([
    [{ exitCode: 42, outputTail: 'bye' }, script, 'Mend the script.'],
    [
      { exitCode: 42 },
      script,
      'Mend the script. With spec.setupScript.keepOutput: true the end of its output is kept.',
    ],
    [
      { exitCode: 127 },
      { setupScript: { secretKeyRef: { name: 's', key: 'k' } } },
      'A command in it does not exist in the guest (exit code 127). Mend the script in its Secret. With spec.setupScript.keepOutput: true the end of its output is kept.',
    ],
    [
      { exitCode: 137, outputTail: '' },
      script,
      'It was killed (exit code 137): where the guest ran out of memory, name a larger className. Mend the script.',
    ],
  ])('whose script failed with %o', (setup, spec, advice) => {
    expect(situationOf(over('Error', 'ScriptFailed', { spec, status: { setup } }), CREATED).advice).toBe(
      advice + anew,
    );
  });
});
