import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import type { Runner, RunnerSpec, RunnerStatus } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { type Action, decide } from './decide.ts';
import type { Ages, BundleFacts, RunnerFacts, SessionFacts, StrayFacts } from './facts.ts';
import { timeoutsOf } from './timeouts.ts';

const NOW = Date.parse('2026-01-01T00:10:00Z');
const HOST = { name: 'mac-1', uid: 'host-uid', state: 'live', isCleared: true } as const;

function runner(
  overrides: {
    spec?: Partial<RunnerSpec>;
    status?: Partial<RunnerStatus>;
    deleted?: boolean;
    finalizers?: string[];
  } = {},
): Stored<Runner> {
  return {
    apiVersion: 'shoesvz.dev/v1alpha1',
    kind: 'Runner',
    metadata: {
      name: 'r1',
      namespace: 'ci',
      uid: 'runner-uid',
      resourceVersion: '7',
      generation: 2,
      creationTimestamp: '2026-01-01T00:09:50Z',
      finalizers: overrides.finalizers ?? [finalizerName(HOST.name, 1)],
      ...(overrides.deleted ? { deletionTimestamp: '2026-01-01T00:09:59Z' } : {}),
    },
    spec: {
      templateName: 'debian',
      completion: 'Never',
      startAttempts: 1,
      setupScript: { inline: 'true' },
      binding: {
        hostName: HOST.name,
        hostUID: HOST.uid,
        attempt: 1,
        resources: { cpu: 1, memory: '512Mi', disk: '4Gi' },
        templateDigest: 'sha256:0',
      },
      ...overrides.spec,
    },
    status: { phase: 'Pending', observedGeneration: -1, ...overrides.status },
  };
}

const IDLE: SessionFacts = {
  launch: { state: 'idle' },
  ssh: { state: 'idle' },
  script: { state: 'unobserved' },
  scriptWatched: false,
  gatePassedHere: false,
  purge: { state: 'idle' },
};

function bundle(overrides: Partial<BundleFacts> = {}): BundleFacts {
  return {
    attempt: 1,
    hostUid: HOST.uid,
    stage: 'Started',
    cloneMs: 20,
    startedAt: NOW - 5000,
    ...overrides,
  };
}

const stray = (overrides: Partial<StrayFacts> = {}): StrayFacts => ({
  ...bundle(overrides),
  purging: false,
  failing: false,
  ...overrides,
});

function agesOf(made: BundleFacts | undefined): Ages {
  const since = (moment: number | undefined) => (moment === undefined ? undefined : NOW - moment);
  return {
    started: since(made?.startedAt),
    sshReady: since(made?.sshReadyAt),
    scriptStarted: since(made?.scriptStartedAt),
    ready: since(made?.readyAt),
  };
}

/** The same, so many milliseconds later. */
function later(given: RunnerFacts, ms: number): RunnerFacts {
  const { session, ages } = given;
  const aged = Object.entries(ages).map(([name, age]) => [name, age === undefined ? age : age + ms]);
  const { script } = session;
  return {
    ...given,
    now: given.now + ms,
    ages: Object.fromEntries(aged),
    session: {
      ...session,
      script: script.state === 'exited' ? { ...script, forMs: script.forMs + ms } : script,
    },
  };
}

function facts(
  overrides: Partial<Omit<RunnerFacts, 'session'>> & { session?: Partial<SessionFacts> } = {},
): RunnerFacts {
  return {
    now: NOW,
    leaseFresh: true,
    host: HOST,
    runner: { is: 'bound', runner: runner() },
    bundle: undefined,
    strays: [],
    attempt: 1,
    heldAttempts: [1],
    vm: 'absent',
    guestAgent: true,
    endpoint: { host: '127.65.0.2', port: 2222, user: 'runner', guestIp: '10.0.2.15' },
    ages: agesOf(overrides.bundle),
    timeouts: timeoutsOf(
      overrides.runner?.is === 'bound' ? overrides.runner.runner.spec : { completion: 'Never' },
      undefined,
    ),
    ...overrides,
    session: { ...IDLE, ...overrides.session },
  };
}

const does = (given: RunnerFacts): Action['do'][] => decide(given).actions.map((action) => action.do);
const condition = (given: RunnerFacts, type: string) =>
  decide(given).status?.conditions?.find((one) => one.type === type);

const sshReady = { sshReadyAt: NOW - 1000, hostKey: 'ssh-ed25519 AAAA' };
const gated = (more: Partial<RunnerStatus> = {}) =>
  ({ phase: 'SSHReady', scriptAttempt: 1, attempt: 1, ...more }) as const;

describe('a start', () => {
  test('begins with a launch, and says nothing while it is brief', () => {
    expect(decide(facts())).toMatchObject({
      actions: [{ do: 'launch' }],
      status: undefined,
      requeueAfterMs: 500,
    });
  });

  test('is told of as Creating once it lasts', () => {
    const launching = facts({ vm: 'unknown', session: { launch: { state: 'running', forMs: 500 } } });
    expect(decide(launching)).toMatchObject({ actions: [], status: { phase: 'Creating', attempt: 1 } });
  });

  test.each([
    ['the Lease is stale', { leaseFresh: false }],
    ['the VM may be there', { vm: 'unknown' }],
    ['something that a former daemon left is not gone', { host: { ...HOST, isCleared: false } }],
  ] as const)('waits where %s', (_, more) => {
    expect(does(facts(more))).toEqual([]);
  });

  test('purges a VM that runs without its bundle before it makes one', () => {
    expect(does(facts({ vm: 'present' }))).toEqual(['purge']);
  });

  test('never begins before what else there is of the UID is gone', () => {
    expect(does(facts({ strays: [stray({ attempt: 2 })] }))).toEqual(['purgeStray']);
    expect(does(facts({ strays: [stray({ attempt: 2, purging: true })] }))).toEqual([]);
    expect(does(facts({ strays: [stray({ attempt: 2, stage: 'Purged' })] }))).toEqual(['dropStray']);
  });

  test('keeps its finalizer when what lay in the place of its bundle is gone', () => {
    const other = facts({ strays: [stray({ attempt: 1, hostUid: 'older', stage: 'Purged' })] });
    expect(does(other)).toEqual(['dropStray']);
  });

  test.each(['Preparing', 'Prepared'] as const)(
    'of which a dead daemon left a bundle %s begins afresh',
    (stage) => {
      expect(does(facts({ bundle: bundle({ stage, startedAt: undefined }) }))).toEqual(['purge']);
      expect(does(facts({ bundle: bundle({ stage: 'Purged', startedAt: undefined }) }))).toEqual([
        'dropTombstone',
      ]);
    },
  );

  test('that was not recorded but took place is recorded', () => {
    expect(does(facts({ bundle: bundle({ stage: 'Prepared' }), vm: 'present' }))).toEqual(['recordStart']);
  });

  test('that failed is over, with its reason', () => {
    const failed = { launch: { state: 'failed', reason: 'CloneFailed', message: 'no room' } } as const;
    const withBundle = decide(facts({ bundle: bundle({ stage: 'Preparing' }), session: failed }));
    expect(withBundle.actions).toMatchObject([
      { do: 'recordOutcome', outcome: { phase: 'Error', reason: 'CloneFailed' } },
    ]);
    const without = facts({ session: failed });
    expect(decide(without)).toMatchObject({ actions: [], status: { phase: 'Error' } });
    expect(condition(without, 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'CloneFailed',
      message: 'no room',
    });
  });
});

describe('a VM that runs', () => {
  test('is Booting, and SSH is awaited until the limit', () => {
    const decision = decide(facts({ bundle: bundle(), vm: 'present' }));
    expect(decision).toMatchObject({ actions: [{ do: 'awaitSsh' }], status: { phase: 'Booting' } });
    expect(decision.requeueAfterMs).toBe(295_000);
    const late = decide(facts({ bundle: bundle({ startedAt: NOW - 300_000 }), vm: 'present' }));
    expect(late.actions).toMatchObject([{ do: 'recordOutcome', outcome: { reason: 'BootTimeout' } }]);
  });

  test('passes the gate in the write that says SSH-ready, and starts no script before', () => {
    const ready = facts({
      bundle: bundle(sshReady),
      vm: 'present',
      session: { ssh: { state: 'connected' } },
    });
    expect(decide(ready)).toMatchObject({ actions: [], status: { phase: 'SSHReady', scriptAttempt: 1 } });
    expect(decide({ ...ready, leaseFresh: false }).status?.scriptAttempt).toBeUndefined();
  });

  test('without a script is ready in the same write', () => {
    const spec = { setupScript: undefined };
    const unready = facts({
      runner: { is: 'bound', runner: runner({ spec }) },
      bundle: bundle(sshReady),
      vm: 'present',
    });
    expect(decide(unready)).toEqual({ actions: [{ do: 'recordReady', reason: 'NoScript' }] });
    const ready = {
      ...unready,
      bundle: bundle({ ...sshReady, readyAt: NOW, readyReason: 'NoScript' as const }),
    };
    expect(decide(ready)).toMatchObject({ actions: [], status: { phase: 'SSHReady', scriptAttempt: 1 } });
    expect(condition(ready, 'Ready')).toMatchObject({ status: 'True', reason: 'NoScript' });
  });

  test.each([
    ['passed here, and the script seen to have begun', { gatePassedHere: true }, ['observeScript']],
    ['passed by a daemon that is gone', {}, ['observeScript']],
    ['running, not watched', { script: { state: 'running' } }, ['watchScript']],
    ['running, watched', { script: { state: 'running' }, scriptWatched: true }, []],
    ['starting', { script: { state: 'starting' } }, []],
  ] as const)('with the gate %s', (_, session, expected) => {
    const runnerNow = { is: 'bound', runner: runner({ status: gated() }) } as const;
    const given = facts({
      runner: runnerNow,
      bundle: bundle({ ...sshReady, scriptStartedAt: NOW - 500 }),
      vm: 'present',
      session: { ssh: { state: 'connected' }, ...session },
    });
    expect(does(given)).toEqual(expected);
  });

  test.each(['unobserved', 'absent', 'incomplete'] as const)(
    'whose script is %s is given it by whoever passed the gate',
    (state) => {
      const given = facts({
        runner: { is: 'bound', runner: runner({ status: gated() }) },
        bundle: bundle(sshReady),
        vm: 'present',
        session: { ssh: { state: 'connected' }, gatePassedHere: true, script: { state } },
      });
      expect(does(given)).toEqual(['startScript']);
    },
  );

  test.each([
    [{ state: 'running' }, NOW],
    [{ state: 'exited', exitCode: 0, outputTail: '', at: NOW - 5, forMs: 5 }, NOW - 5],
  ] as const)('whose script was begun by a daemon that did not record it records it: %o', (script, at) => {
    const given = facts({
      runner: { is: 'bound', runner: runner({ status: gated() }) },
      bundle: bundle(sshReady),
      vm: 'present',
      session: { ssh: { state: 'connected' }, script },
    });
    expect(decide(given)).toEqual({ actions: [{ do: 'recordScript', at }] });
  });

  test.each([
    ['absent', 'ScriptUnknown'],
    ['incomplete', 'ScriptUnknown'],
    ['vanished', 'ScriptLost'],
  ] as const)('whose script is %s after a restart fails as %s', (state, reason) => {
    const runnerNow = { is: 'bound', runner: runner({ status: gated() }) } as const;
    const given = facts({
      runner: runnerNow,
      bundle: bundle(sshReady),
      vm: 'present',
      session: { script: { state } },
    });
    expect(decide(given).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { phase: 'Error', reason } },
    ]);
  });

  test.each(['absent', 'incomplete'] as const)(
    'whose script was seen to run is not given it again by a guest that has reset and knows it as %s',
    (state) => {
      const given = facts({
        runner: { is: 'bound', runner: runner({ status: gated() }) },
        bundle: bundle({ ...sshReady, scriptStartedAt: NOW - 500 }),
        vm: 'present',
        session: { ssh: { state: 'connected' }, gatePassedHere: true, script: { state } },
      });
      expect(decide(given).actions).toMatchObject([
        { do: 'recordOutcome', outcome: { phase: 'Error', reason: 'ScriptUnknown' } },
      ]);
    },
  );

  test('whose agent sees no Actions runner says nothing of it until there is one', () => {
    const status = gated({ phase: 'Running' });
    const runnerNow = { is: 'bound', runner: runner({ spec: { setupScript: undefined }, status }) } as const;
    const ready = bundle({ ...sshReady, readyAt: NOW, readyReason: 'NoScript' });
    const seen = (state: 'NoRunner' | 'Idle') =>
      facts({
        runner: runnerNow,
        bundle: ready,
        vm: 'present',
        session: { guest: { state, ip: '10.0.2.15' } },
      });
    expect(decide(seen('NoRunner')).status?.guest).toBeUndefined();
    expect(decide(seen('Idle')).status?.guest).toEqual({ state: 'Idle' });
  });

  test('that ends by itself is an error', () => {
    expect(decide(facts({ bundle: bundle(), vm: 'absent' })).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason: 'VmExited' } },
    ]);
  });

  test('that does not answer is left alone', () => {
    const unknown = facts({
      bundle: bundle({ ...sshReady, readyAt: NOW - 500 }),
      vm: 'unknown',
      vmUnknownForMs: 600,
    });
    expect(decide(unknown)).toMatchObject({ actions: [], requeueAfterMs: 600 });
    expect(condition(unknown, 'Ready')).toMatchObject({ status: 'Unknown', reason: 'VmUnknown' });
  });
});

describe('completion', () => {
  const ended = (exitCode: number) =>
    ({ state: 'exited', exitCode, outputTail: 'bye', at: NOW - 10, forMs: 10 }) as const;
  const given = (
    completion: RunnerSpec['completion'],
    session: Partial<SessionFacts>,
    more: Partial<RunnerSpec> = {},
  ) =>
    facts({
      runner: { is: 'bound', runner: runner({ spec: { completion, ...more }, status: gated() }) },
      bundle: bundle({ ...sshReady, scriptStartedAt: NOW - 900 }),
      vm: 'present',
      session: { ssh: { state: 'connected' }, ...session },
    });

  test.each([
    ['Script', { script: ended(0) }, 'ScriptSucceeded'],
    ['Script', { script: ended(3) }, 'ScriptFailed'],
    ['Never', { script: ended(3) }, 'ScriptFailed'],
    ['Job', { script: ended(1) }, 'ScriptFailed'],
    ['Job', { script: { state: 'running' }, guest: { state: 'Finished', ip: '10.0.2.15' } }, 'JobFinished'],
  ] as const)('%s with %o is over: %s', (completion, session, reason) => {
    expect(decide(given(completion, session)).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason } },
    ]);
  });

  test.each([
    ['Never', { script: ended(0) }, 'ScriptSucceeded'],
    ['Job', { script: ended(0), guest: { state: 'Idle', ip: '10.0.2.15' } }, 'ScriptSucceeded'],
    [
      'Job',
      { script: { state: 'running' }, guest: { state: 'Running', ip: '10.0.2.15' } },
      'RunnerRegistered',
    ],
  ] as const)('%s with %o makes it ready: %s', (completion, session, reason) => {
    expect(decide(given(completion, session)).actions).toContainEqual({ do: 'recordReady', reason });
  });

  test('Job without an Actions runner is given up after a while', () => {
    const waiting = given('Job', { script: ended(0), guest: { state: 'NoRunner', ip: '10.0.2.15' } });
    expect(does(waiting)).toEqual(['recordReady']);
    expect(decide(later(waiting, 120_000)).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason: 'NoRunner' } },
    ]);
  });

  test('Job without the agent is over with its script', () => {
    const agentless = { ...given('Job', { script: ended(0) }), guestAgent: false };
    expect(decide(agentless).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason: 'ScriptSucceeded' } },
    ]);
  });

  test('a script that does not end is over at timeouts.setup, unless Ready came first', () => {
    const slow = given(
      'Never',
      { script: { state: 'running' }, scriptWatched: true },
      { timeouts: { setup: '1s' } },
    );
    expect(decide(slow).requeueAfterMs).toBe(100);
    const late = later(slow, 100);
    expect(decide(late).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason: 'SetupTimeout' } },
    ]);
    const ready = {
      ...late,
      bundle: bundle({ ...sshReady, scriptStartedAt: NOW - 900, readyAt: NOW - 1 }),
    };
    expect(does(ready)).toEqual([]);
  });

  test('output of a script from a Secret is kept only when asked for', () => {
    const secretKeyRef = { name: 's', key: 'k' };
    const outcomeOf = (keepOutput?: boolean) =>
      decide(given('Script', { script: ended(0) }, { setupScript: { secretKeyRef, keepOutput } })).actions[0];
    expect(outcomeOf()).toMatchObject({ outcome: { setup: { exitCode: 0 } } });
    expect(JSON.stringify(outcomeOf())).not.toContain('bye');
    expect(outcomeOf(true)).toMatchObject({ outcome: { setup: { exitCode: 0, outputTail: 'bye' } } });
  });
});

describe('activeDeadlineSeconds', () => {
  const limited = (given: Parameters<typeof facts>[0], ageMs: number, limit: number | null = 60) =>
    facts({
      runner: {
        is: 'bound',
        runner: runner({ spec: { activeDeadlineSeconds: limit ?? undefined }, status: gated() }),
      },
      ...given,
      ages: { ...agesOf(given?.bundle), runnerCreated: ageMs },
    });
  const running = {
    bundle: bundle({ ...sshReady, scriptStartedAt: NOW - 900, readyAt: NOW - 800 }),
    vm: 'present',
    session: { ssh: { state: 'connected' }, script: { state: 'running' }, scriptWatched: true },
  } as const;
  const states: [string, Parameters<typeof facts>[0]][] = [
    ['being cloned', { bundle: bundle({ stage: 'Preparing', startedAt: undefined }), vm: 'absent' }],
    ['booting', { bundle: bundle(), vm: 'present', session: { ssh: { state: 'connecting' } } }],
    ['at work', running],
    ['with a VM that does not answer', { bundle: bundle(sshReady), vm: 'unknown', vmUnknownForMs: 600 }],
    [
      'after a purge that nobody recorded a reason for',
      { bundle: bundle({ stage: 'Purged' }), vm: 'absent' },
    ],
  ];

  test.each(states)('ends one that is %s', (_, given) => {
    expect(decide(limited(given, 60_000)).actions).toMatchObject([
      {
        do: 'recordOutcome',
        outcome: {
          phase: 'Error',
          reason: 'DeadlineExceeded',
          message: 'the Runner was not over 60 s after its creation (activeDeadlineSeconds)',
        },
      },
    ]);
  });

  test.each(states)('ends none that is %s before', (_, given) => {
    expect(does(limited(given, 59_999))).not.toContain('recordOutcome');
    expect(does(limited(given, 1e9, null))).not.toContain('recordOutcome');
  });

  test('looks again just then', () => {
    expect(decide(limited(running, 12_345)).requeueAfterMs).toBe(60_000 - 12_345);
    // What comes first is looked at first.
    const booting = { bundle: bundle(), vm: 'present', session: { ssh: { state: 'connecting' } } } as const;
    expect(decide(limited(booting, 0, 3_600)).requeueAfterMs).toBe(295_000);
  });

  test('of one that nothing was made of yet is told without ado', () => {
    const given = limited({ vm: 'absent' }, 60_000);
    expect(does(given)).toEqual([]);
    expect(decide(given).status).toMatchObject({ phase: 'Error', finishedAt: '2026-01-01T00:10:00.000Z' });
    expect(condition(given, 'Stalled')).toMatchObject({ status: 'True', reason: 'DeadlineExceeded' });
  });

  test('does not take the place of what ended by itself', () => {
    const exited = { state: 'exited', exitCode: 3, outputTail: '', at: NOW - 10, forMs: 10 } as const;
    const failed = limited({ ...running, session: { ...running.session, script: exited } }, 60_001);
    expect(decide(failed).actions).toMatchObject([{ outcome: { reason: 'ScriptFailed' } }]);
    const gone = limited({ ...running, vm: 'absent' }, 60_001);
    expect(decide(gone).actions).toMatchObject([{ outcome: { reason: 'VmExited' } }]);
  });

  test('keeps what the script came to', () => {
    const exited = { state: 'exited', exitCode: 0, outputTail: 'bye', at: NOW - 10, forMs: 10 } as const;
    const idle = limited({ ...running, session: { ...running.session, script: exited } }, 60_001);
    expect(decide(idle).actions).toMatchObject([
      { outcome: { reason: 'DeadlineExceeded', setup: { exitCode: 0, outputTail: 'bye' } } },
    ]);
  });
});

describe('an end', () => {
  const outcome = { phase: 'Finished', reason: 'JobFinished', message: 'done', at: NOW } as const;

  test('destroys first, then tells, then lets go', () => {
    const recorded = facts({ bundle: bundle({ stage: 'TearingDown', outcome }), vm: 'present' });
    expect(decide(recorded)).toMatchObject({ actions: [{ do: 'purge' }], status: undefined });
    const purged = facts({ bundle: bundle({ stage: 'Purged', outcome }), vm: 'absent' });
    expect(decide(purged)).toMatchObject({ actions: [], status: { phase: 'Finished' } });
    expect(condition(purged, 'Finished')).toMatchObject({ status: 'True', reason: 'JobFinished' });
    expect(condition(purged, 'Ready')).toBeUndefined();
    const told = {
      ...purged,
      runner: { is: 'bound', runner: runner({ status: { phase: 'Finished' } }) },
    } as const;
    expect(does(told)).toEqual(['removeFinalizer', 'dropTombstone']);
    expect(does({ ...told, heldAttempts: [] })).toEqual(['dropTombstone']);
  });

  test('of a deleted Runner writes no last status', () => {
    const deleted = { is: 'bound', runner: runner({ deleted: true, status: gated() }) } as const;
    expect(does(facts({ runner: deleted, bundle: bundle(sshReady), vm: 'present' }))).toEqual(['purge']);
    const purged = facts({ runner: deleted, bundle: bundle({ stage: 'Purged' }) });
    expect(decide(purged)).toEqual({
      actions: [{ do: 'removeFinalizer', attempt: 1 }, { do: 'dropTombstone' }],
    });
  });

  test('is told of as TearingDown only when it lasts', () => {
    const deleted = { is: 'bound', runner: runner({ deleted: true, status: gated() }) } as const;
    const purging = (forMs: number) =>
      facts({
        runner: deleted,
        bundle: bundle({ stage: 'TearingDown' }),
        vm: 'unknown',
        session: { purge: { state: 'running', forMs } },
      });
    expect(decide(purging(100))).toEqual({ actions: [], status: undefined, requeueAfterMs: 400 });
    expect(decide(purging(500)).status?.phase).toBe('TearingDown');
  });

  test('of a Runner that is gone or elsewhere leaves nothing here', () => {
    expect(
      does(facts({ runner: { is: 'absent' }, heldAttempts: [], bundle: bundle(), vm: 'present' })),
    ).toEqual(['purge']);
    expect(
      does(facts({ runner: { is: 'absent' }, heldAttempts: [], bundle: bundle({ stage: 'Purged' }) })),
    ).toEqual(['dropTombstone']);
    const elsewhere = facts({
      runner: { is: 'elsewhere', runner: runner() },
      bundle: bundle({ stage: 'Purged' }),
    });
    expect(does(elsewhere)).toEqual(['removeFinalizer', 'dropTombstone']);
  });

  test('comes with the host', () => {
    const deleting = facts({ host: { ...HOST, state: 'deleting' }, bundle: bundle(), vm: 'present' });
    expect(decide(deleting).actions).toMatchObject([
      { do: 'recordOutcome', outcome: { reason: 'HostDeleted' } },
    ]);
  });

  test('of a bundle that was removed by hand is told, not repaired', () => {
    const started = {
      is: 'bound',
      runner: runner({ status: { ...gated(), startedAt: '2026-01-01T00:00:00Z' } }),
    } as const;
    expect(does(facts({ runner: started, vm: 'present' }))).toEqual(['purge']);
    expect(condition(facts({ runner: started }), 'Stalled')).toMatchObject({ reason: 'BundleLost' });
  });
});

const JOB_FINISHED = { phase: 'Finished', reason: 'JobFinished', message: '', at: NOW } as const;
const CLONE_FAILED = { phase: 'Error', reason: 'CloneFailed', message: 'no room', at: NOW } as const;
const FAILURE = {
  attempt: 1,
  hostName: HOST.name,
  reason: 'CloneFailed',
  message: 'no room',
  finishedAt: '2026-01-01T00:09:59Z',
} as const;

describe('a failed start', () => {
  const purged = (more: Partial<RunnerSpec>, status: Partial<RunnerStatus> = {}) =>
    facts({
      runner: { is: 'bound', runner: runner({ spec: more, status }) },
      bundle: bundle({ stage: 'Purged', outcome: CLONE_FAILED }),
    });

  test.each([
    ['the first of three', { startAttempts: 3 }, {}, 'Pending'],
    ['the only one', { startAttempts: 1 }, {}, 'Error'],
    ['the last one', { startAttempts: 2 }, { attempts: [{ ...FAILURE, attempt: 0 }] }, 'Error'],
    [
      'one after others that do not count',
      { startAttempts: 2 },
      { attempts: [{ ...FAILURE, attempt: 0, reason: 'OutOfCapacity' }] },
      'Pending',
    ],
    ['one behind the gate', { startAttempts: 3 }, { scriptAttempt: 1 }, 'Error'],
  ] as const)('%s: %o', (_, spec, status, phase) => {
    expect(decide(purged(spec, status as Partial<RunnerStatus>)).status?.phase).toBe(phase);
  });

  test('for want of room is told at once, but only where nothing of it can be there', () => {
    const short = facts({ shortage: 'the host takes 2 Runners at once, and has 2' });
    expect(decide(short)).toMatchObject({ actions: [], status: { phase: 'Pending' } });
    expect(decide(short).status?.attempts).toMatchObject([{ attempt: 1, reason: 'OutOfCapacity' }]);
    expect(does({ ...short, vm: 'unknown' })).toEqual([]);
    expect(does({ ...short, vm: 'present' })).toEqual(['purge']);
    expect(decide({ ...short, leaseFresh: false })).toMatchObject({ actions: [] });
    expect(decide({ ...short, leaseFresh: false }).status).toBeUndefined();
  });

  test('once told lets the Runner go, and begins nothing', () => {
    const told = { attempts: [FAILURE] };
    expect(does(purged({ startAttempts: 3 }, told))).toEqual(['removeFinalizer', 'dropTombstone']);
    const gone = { ...purged({ startAttempts: 3 }, told), bundle: undefined, heldAttempts: [] };
    expect(decide(gone)).toEqual({ actions: [] });
  });
});

const anyFacts: fc.Arbitrary<RunnerFacts> = fc
  .record({
    leaseFresh: fc.boolean(),
    observed: fc.constantFrom('bound', 'elsewhere', 'absent', 'unknown' as const),
    deleted: fc.boolean(),
    phase: fc.constantFrom('Pending', 'Booting', 'SSHReady', 'Running', 'Finished', 'Error' as const),
    scriptAttempt: fc.constantFrom(undefined, 1),
    stage: fc.constantFrom(undefined, 'Preparing', 'Prepared', 'Started', 'TearingDown', 'Purged' as const),
    outcome: fc.boolean(),
    ready: fc.boolean(),
    stray: fc.constantFrom(undefined, 'Started', 'Purged' as const),
    vm: fc.constantFrom('present', 'stopped', 'absent', 'unknown' as const),
    ssh: fc.constantFrom('idle', 'connecting', 'connected' as const),
    script: fc.constantFrom('unobserved', 'starting', 'absent', 'incomplete', 'running', 'vanished' as const),
    gatePassedHere: fc.boolean(),
    purging: fc.boolean(),
    launching: fc.boolean(),
    hostState: fc.constantFrom('live', 'deleting', 'vanished' as const),
    startAttempts: fc.constantFrom(1, 3),
    failed: fc.boolean(),
  })
  .map((x) => {
    const object = runner({
      deleted: x.deleted,
      spec: { startAttempts: x.startAttempts },
      status: {
        phase: x.phase,
        scriptAttempt: x.scriptAttempt,
        ...(x.failed && x.scriptAttempt === undefined ? { attempts: [FAILURE] } : {}),
      },
    });
    const observed =
      x.observed === 'bound' || x.observed === 'elsewhere'
        ? ({ is: x.observed, runner: object } as const)
        : x.observed === 'absent'
          ? ({ is: 'absent' } as const)
          : ({ is: 'unknown', why: '' } as const);
    return facts({
      leaseFresh: x.leaseFresh,
      host: { ...HOST, state: x.hostState },
      runner: observed,
      heldAttempts: x.observed === 'bound' || x.observed === 'elsewhere' ? [1] : [],
      bundle:
        x.stage === undefined
          ? undefined
          : bundle({
              stage: x.stage,
              ...(x.ready ? sshReady : {}),
              ...(x.outcome ? { outcome: x.startAttempts > 1 ? CLONE_FAILED : JOB_FINISHED } : {}),
            }),
      strays: x.stray === undefined ? [] : [stray({ attempt: 2, stage: x.stray })],
      vm: x.vm,
      session: {
        ssh: { state: x.ssh },
        script: { state: x.script },
        gatePassedHere: x.gatePassedHere,
        purge: x.purging ? { state: 'running', forMs: 0 } : { state: 'idle' },
        launch: x.launching ? { state: 'running', forMs: 0 } : { state: 'idle' },
      },
    });
  });

describe('whatever is true', () => {
  const always = (property: (given: RunnerFacts, actions: Action['do'][]) => void) =>
    fc.assert(
      fc.property(anyFacts, (given) => property(given, does(given))),
      { numRuns: 3000 },
    );
  const destroys = ['purge', 'purgeStray'];

  test('an unknown Runner causes nothing', () => {
    always((given, actions) => {
      if (given.runner.is === 'unknown') expect(actions).toEqual([]);
    });
  });

  test('without a fresh Lease nothing is spawned, told, let go or destroyed', () => {
    always((given, actions) => {
      if (given.leaseFresh) return;
      for (const forbidden of ['launch', 'startScript', 'removeFinalizer', ...destroys])
        expect(actions).not.toContain(forbidden);
      expect(decide(given).status).toBeUndefined();
    });
  });

  test('a finalizer goes only when nothing is left', () => {
    always((given, actions) => {
      if (!actions.includes('removeFinalizer') || given.strays.length > 0) return;
      expect(given.vm).toBe('absent');
      expect([undefined, 'Purged']).toContain(given.bundle?.stage);
    });
  });

  test('a launch finds nothing of its UID', () => {
    always((given, actions) => {
      if (!actions.includes('launch')) return;
      expect(given).toMatchObject({ strays: [], vm: 'absent', host: { state: 'live' } });
      expect(given.bundle).toBeUndefined();
    });
  });

  test('a failed attempt is neither launched again nor told of as under way', () => {
    always((given, actions) => {
      if (given.runner.is !== 'bound' || given.runner.runner.status?.attempts === undefined) return;
      for (const forbidden of ['launch', 'awaitSsh', 'startScript']) expect(actions).not.toContain(forbidden);
      expect(decide(given).status).toBeUndefined();
    });
  });

  test('a start is sent back before the gate only', () => {
    always((given) => {
      if (decide(given).status?.phase !== 'Pending' || given.runner.is !== 'bound') return;
      expect(given.runner.runner.status?.scriptAttempt).toBeUndefined();
    });
  });

  test('a script starts only behind a gate that this process passed and the API server confirms', () => {
    always((given, actions) => {
      if (!actions.includes('startScript') || given.runner.is !== 'bound') return;
      expect(given.runner.runner.status?.scriptAttempt).toBe(1);
      expect(given.session.gatePassedHere).toBe(true);
      expect(['unobserved', 'absent', 'incomplete']).toContain(given.session.script.state);
    });
  });

  test('a last status is written only when nothing is left', () => {
    always((given) => {
      const { status } = decide(given);
      if (status === undefined) return;
      const { phase, attempts } = status;
      const failures = attempts?.length ?? 0;
      const before = given.runner.is === 'bound' ? (given.runner.runner.status?.attempts?.length ?? 0) : 0;
      if (phase !== 'Finished' && phase !== 'Error' && failures === before) return;
      expect(given.vm).toBe('absent');
      expect([undefined, 'Purged']).toContain(given.bundle?.stage);
    });
  });

  test('what was written is not written again', () => {
    always((given) => {
      const { status } = decide(given);
      if (status === undefined || given.runner.is !== 'bound') return;
      const stored = { ...given.runner.runner, status };
      const next = decide({ ...given, runner: { is: 'bound', runner: stored } }).status;
      if (next !== undefined) expect(next).toEqual(status);
    });
  });
});
