import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RUNNER_PHASES, type Runner, type RunnerStatus } from '../../crds/runner.ts';
import type { KubeEvent } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';
import { condition } from '../../test/builders/condition.ts';
import { linuxHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { story } from './story.ts';
import { traceOf } from './trace.ts';

const CREATED = Date.parse('2026-01-01T00:00:00Z');
const at = (seconds: number): string => new Date(CREATED + seconds * 1000).toISOString();
const named = { name: 'build', namespace: 'ci', creationTimestamp: at(0) };
const host = linuxHost({ metadata: { name: 'host-a', uid: 'uid-a' } });

const pending = (overrides?: Overrides<Runner>): Stored<Runner> =>
  stored(runner({ ...overrides, metadata: { ...named, ...overrides?.metadata } }));

/** Bound to host-a with a script, as far as the status says. */
const onHost = (status: RunnerStatus, overrides?: Overrides<Runner>): Stored<Runner> =>
  stored({
    ...boundRunner(host, {
      ...overrides,
      metadata: { ...named, ...overrides?.metadata },
      spec: { setupScript: { inline: 'x' }, ...overrides?.spec },
    }),
    status: { ...status, conditions: [condition('Bound'), ...(status.conditions ?? [])] },
  });

const event = (seconds: number, reason: string, note: string, from = 'node-daemon'): KubeEvent => ({
  apiVersion: 'events.k8s.io/v1',
  kind: 'Event',
  metadata: { name: `build.${seconds}` },
  eventTime: at(seconds),
  type: from === 'controller' && reason !== 'Bound' ? 'Warning' : 'Normal',
  reason,
  action: reason,
  note,
  regarding: { apiVersion: 'shoesvz.dev/v1alpha1', kind: 'Runner', name: 'build' },
  reportingController: `shoesvz.dev/${from}`,
  reportingInstance: 'x',
});

const BOUND = event(1.25, 'Bound', 'bound to host host-a, attempt 1', 'controller');

/** Started at 2 s, answered SSH 4.2 s later, ready 3 s after that. */
const started = { observedGeneration: 2, attempt: 1, startedAt: at(2), timings: { cloneMs: 21 } };
const reachable = { ...started, timings: { cloneMs: 21, bootToSshMs: 4_200, totalMs: 6_200 } };
const set = { ...reachable, timings: { ...reachable.timings, setupMs: 3_000 } };

const tell = (object: Stored<Runner>, events: readonly KubeEvent[], seconds: number): string =>
  story(object, events, CREATED + seconds * 1000).join('\n');

describe('the story of a Runner', () => {
  test('that waits for a host: for what, how long for each, and what would help', () => {
    const bound = condition('Bound', {
      status: 'False',
      reason: 'NoHostFits',
      message: '4 hosts: 2 full, 1 cordoned, 1 without template linux',
    });
    const object = pending({ status: { observedGeneration: 1, conditions: [bound] } });
    const events = [
      event(62, 'NoHostFits', 'there are no hosts', 'controller'),
      event(0.1, 'TemplateNotFound', 'Template linux does not exist', 'controller'),
    ];
    expect(tell(object, events, 123)).toBe(`\
Runner ci/build: Pending

  wait for a host  2 min 3 s    so far
                   1 min 1 s    TemplateNotFound: Template linux does not exist
                   1 min 1 s    NoHostFits: there are no hosts
  in all           2 min 3 s

It waits for a host: 4 hosts: 2 full, 1 cordoned, 1 without template linux. (NoHostFits)
It is bound by itself as soon as a host fits. "kubectl get machosts,linuxhosts" shows the hosts, "kubectl get runners -A" who is on them.`);
  });

  test('that no host took before its deadline: what the time went to', () => {
    const message =
      'it still waited for a host 60 s after its creation (activeDeadlineSeconds): 1 host: 1 full';
    const told = { reason: 'DeadlineExceeded', message };
    const object = pending({
      spec: { activeDeadlineSeconds: 60 },
      status: {
        phase: 'Error',
        observedGeneration: 1,
        finishedAt: at(60),
        conditions: [condition('Bound', { ...told, status: 'False' }), condition('Stalled', told)],
      },
    });
    const events = [
      event(0.2, 'NoHostFits', '1 host: 1 full', 'controller'),
      event(60, 'DeadlineExceeded', message, 'controller'),
    ];
    expect(tell(object, events, 3_600)).toBe(`\
Runner ci/build: Error

  wait for a host  1 min        broken off
                   59 s         NoHostFits: 1 host: 1 full
  in all           1 min

It failed: it still waited for a host 60 s after its creation (activeDeadlineSeconds): 1 host: 1 full. (DeadlineExceeded)
Raise spec.activeDeadlineSeconds where that much time is needed: it counts from the creation, the wait for a host included. Above stands what the time went to. A Runner that has failed is never started again: create another one.`);
  });

  test('whose host was deleted: that is no part of its wait for one', () => {
    const told = {
      reason: 'HostDeleted',
      message: "the host host-a was deleted, and the Runner's VM with it",
    };
    const object = stored(
      boundRunner(host, {
        metadata: named,
        status: { phase: 'Error', attempt: 1, finishedAt: at(60), conditions: [condition('Stalled', told)] },
      }),
    );
    const events = [
      event(0.2, 'NoHostFits', '1 host: 1 full', 'controller'),
      BOUND,
      event(59, 'HostDeclaredDead', 'host host-a was deleted', 'controller'),
      event(60, told.reason, told.message, 'controller'),
    ];
    const story = tell(object, events, 3_600);
    expect(story).toContain('NoHostFits: 1 host: 1 full');
    expect(story).not.toMatch(/HostDeclaredDead|HostDeleted:/);
  });

  test('of which a start has failed: which, why, and when it is tried again', () => {
    const message = '1 of 3 starts have failed; attempt 1 on host host-a: CloneFailed: no room';
    const failed = stored(
      boundRunner(host, {
        metadata: named,
        status: {
          attempt: 1,
          attempts: [
            { attempt: 1, hostName: 'host-a', reason: 'CloneFailed', message: 'no room', finishedAt: at(4) },
          ],
          conditions: [condition('Bound', { status: 'False', reason: 'AttemptFailed', message })],
        },
      }),
    );
    expect(tell(failed, [BOUND], 4.5)).toBe(`\
Runner ci/build: Pending

  wait for a host  4 s          so far
  in all           4 s

Starts that failed:
  1   host-a  CloneFailed: no room

It is started anew, at once where another host fits, on host-a in 500 ms at the earliest: ${message}. (AttemptFailed)
On the host: is there room, is the template whole ("shoes-vz template list")? Else run "shoes-vz doctor" on the host, and look at the log of its node daemon.`);
  });

  test('that boots: what is done, and how long it may go on', () => {
    const booting = onHost({
      ...started,
      phase: 'Booting',
      conditions: [condition('Ready', { status: 'False' })],
    });
    expect(tell(booting, [BOUND], 4.5)).toBe(`\
Runner ci/build: Booting, on host-a

  wait for a host  1 s
  clone            21 ms
  start of the VM  729 ms
  boot until SSH   2.5 s        so far
  in all           4 s

Its VM boots and does not answer SSH yet; it is given up after 5 min (spec.timeouts.boot).`);
  });

  test('that failed: the reason, the exit code, what the script wrote last, and what to do', () => {
    const message = 'the setup script exited with code 127';
    const failed = onHost({
      ...reachable,
      phase: 'Error',
      setup: { exitCode: 127, outputTail: 'installing\nxcodebuild: not found\u001b[2J\n' },
      finishedAt: at(9.5),
      conditions: [
        condition('Stalled', { reason: 'ScriptFailed', message }),
        condition('Finished', { reason: 'ScriptFailed', message }),
      ],
    });
    const events = [BOUND, event(9.2, 'ScriptFailed', message)];
    expect(tell(failed, events, 5_000)).toBe(`\
Runner ci/build: Error, on host-a

  wait for a host  1 s
  clone            21 ms
  start of the VM  729 ms
  boot until SSH   4.2 s
  setup script     3.0 s        exit code 127
  teardown         300 ms
  in all           9 s

It failed: the setup script exited with code 127. (ScriptFailed)
A command in it does not exist in the guest (exit code 127). Mend the script. A Runner that has failed is never started again: create another one.

The script wrote last:
  installing
  xcodebuild: not found\uFFFD[2J`);
  });

  test('that finished: the whole of it, also when the Events have expired', () => {
    const finished = onHost({
      ...set,
      phase: 'Finished',
      setup: { exitCode: 0 },
      finishedAt: at(70),
      conditions: [
        condition('Finished', { reason: 'JobFinished', message: 'the Actions runner has finished its job' }),
      ],
    });
    const events = [BOUND, event(69.2, 'Finished', 'the Actions runner has finished its job')];
    const whole = tell(finished, events, 90_000);
    expect(whole).toBe(`\
Runner ci/build: Finished, on host-a

  wait for a host  1 s
  clone            21 ms
  start of the VM  729 ms
  boot until SSH   4.2 s
  setup script     3.0 s        exit code 0
  in use           1 min
  teardown         800 ms
  in all           1 min 10 s

It is over: the Actions runner has finished its job. (JobFinished)
Nothing is left to be done.`);
    const parts = traceOf(finished, [], CREATED).steps.map(({ step, state }) => `${step} ${state}`);
    expect(parts).toEqual([
      'host done',
      'clone done',
      'boot done',
      'setup done',
      'use done',
      'teardown done',
    ]);
  });
});

describe('the parts of a life', () => {
  const parts = (object: Stored<Runner>, events: readonly KubeEvent[], seconds: number): string[] =>
    traceOf(object, events, CREATED + seconds * 1000).steps.map(
      ({ step, state, ms }) => `${step} ${state} ${ms}`,
    );
  const unready = condition('Ready', { status: 'False', reason: 'Deleted', lastTransitionTime: at(20) });

  test.each<[string, Stored<Runner>, readonly KubeEvent[], string[]]>([
    ['that has just begun', pending(), [], ['host under way 30000']],
    [
      'of which nothing but the binding is known',
      stored(boundRunner(host, { metadata: named })),
      [BOUND],
      ['host done 1250', 'clone under way 28750'],
    ],
    [
      'whose binding has no Event any more',
      onHost({ ...started, phase: 'Booting' }),
      [],
      ['host done 1979', 'clone done 21', 'boot under way 28000'],
    ],
    [
      'whose script runs',
      onHost({ ...reachable, phase: 'Running', conditions: [unready] }),
      [BOUND],
      ['host done 1250', 'clone done 21', 'start done 729', 'boot done 4200', 'setup under way 23800'],
    ],
    [
      'that is in use',
      onHost({ ...set, phase: 'Running', conditions: [condition('Ready', { lastTransitionTime: at(9.3) })] }),
      [BOUND],
      [
        'host done 1250',
        'clone done 21',
        'start done 729',
        'boot done 4200',
        'setup done 3000',
        'use under way 20700',
      ],
    ],
    [
      'without a script',
      onHost(
        {
          ...reachable,
          phase: 'SSHReady',
          conditions: [condition('Ready', { lastTransitionTime: at(6.2) })],
        },
        { spec: { setupScript: undefined } },
      ),
      [BOUND],
      ['host done 1250', 'clone done 21', 'start done 729', 'boot done 4200', 'use under way 23800'],
    ],
    [
      'that is being torn down',
      onHost(
        { ...set, phase: 'TearingDown', conditions: [unready] },
        { metadata: { deletionTimestamp: at(19) } },
      ),
      [BOUND],
      [
        'host done 1250',
        'clone done 21',
        'start done 729',
        'boot done 4200',
        'setup done 3000',
        'use done 10800',
        'teardown under way 10000',
      ],
    ],
    [
      'that was deleted while its script ran',
      onHost(
        { ...reachable, phase: 'Running', conditions: [unready] },
        { metadata: { deletionTimestamp: at(19) } },
      ),
      [BOUND],
      [
        'host done 1250',
        'clone done 21',
        'start done 729',
        'boot done 4200',
        'setup broken off 12800',
        'teardown under way 11000',
      ],
    ],
    [
      'that never booted',
      onHost({
        ...started,
        phase: 'Error',
        finishedAt: at(26),
        conditions: [condition('Stalled', { reason: 'BootTimeout' })],
      }),
      [BOUND, event(25, 'BootTimeout', 'no SSH')],
      ['host done 1250', 'clone done 21', 'start done 729', 'boot broken off 23000', 'teardown done 1000'],
    ],
    [
      'that could not be cloned',
      onHost({
        observedGeneration: 2,
        attempt: 1,
        phase: 'Error',
        finishedAt: at(3),
        conditions: [condition('Stalled', { reason: 'CloneFailed' })],
      }),
      [BOUND],
      ['host done 1250', 'clone broken off 1750', 'teardown done 0'],
    ],
    [
      'whose script is the job',
      onHost({
        ...reachable,
        phase: 'Finished',
        setup: { exitCode: 0 },
        finishedAt: at(12),
        conditions: [condition('Finished', { reason: 'ScriptSucceeded' })],
      }),
      [BOUND, event(11, 'Finished', 'exited')],
      [
        'host done 1250',
        'clone done 21',
        'start done 729',
        'boot done 4200',
        'setup done 4800',
        'teardown done 1000',
      ],
    ],
    [
      'that was bound anew, while its status tells of the first attempt',
      onHost({ ...set, phase: 'TearingDown', attempt: 1 }, { spec: { binding: { attempt: 2 } } }),
      [BOUND, event(15, 'Bound', 'bound to host host-a, attempt 2', 'controller')],
      ['host done 15000', 'clone under way 15000'],
    ],
  ])('%s', (_, object, events, expected) => {
    expect(parts(object, events, 30)).toEqual(expected);
  });
});

const UNFIT = /undefined|NaN|\[object|\p{Cc}/u;

test('there is a story for anything that the status may say, and it shows no control characters', () => {
  const status = fc.record(
    {
      phase: fc.constantFrom(...RUNNER_PHASES),
      observedGeneration: fc.integer({ min: -1, max: 3 }),
      attempt: fc.integer({ min: 1, max: 2 }),
      startedAt: fc.constant(at(2)),
      finishedAt: fc.constant(at(20)),
      timings: fc.record(
        { cloneMs: fc.nat(), bootToSshMs: fc.nat(), setupMs: fc.nat(), totalMs: fc.nat() },
        { requiredKeys: [] },
      ),
      setup: fc.record(
        { exitCode: fc.integer(), outputTail: fc.string({ unit: 'binary' }) },
        { requiredKeys: [] },
      ),
      conditions: fc.uniqueArray(
        fc.record({
          type: fc.constantFrom('Bound', 'SSHReady', 'Ready', 'Finished', 'Stalled'),
          status: fc.constantFrom('True', 'False', 'Unknown'),
          reason: fc.constantFrom(
            'NoHostFits',
            'HostLost',
            'SetupWaiting',
            'ScriptFailed',
            'SomethingNew',
            'constructor',
          ),
          message: fc.string({ unit: 'binary' }),
          lastTransitionTime: fc.constant(at(7)),
        }),
        { selector: ({ type }) => type },
      ),
    },
    { requiredKeys: ['phase', 'observedGeneration'] },
  );
  const deletionTimestamp = fc.constantFrom(undefined, at(19));
  fc.assert(
    fc.property(status, fc.boolean(), deletionTimestamp, (said, isBound, deleted) => {
      const metadata = { ...named, deletionTimestamp: deleted };
      const base = isBound ? boundRunner(host, { metadata }) : runner({ metadata });
      const text = story(stored({ ...base, status: said as RunnerStatus }), [BOUND], CREATED + 30_000);
      expect(text.length).toBeGreaterThanOrEqual(5);
      expect(text.filter((line) => UNFIT.test(line.replaceAll('\t', '')))).toEqual([]);
    }),
  );
});
