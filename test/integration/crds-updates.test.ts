import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Host } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { linuxHost } from '../builders/host.ts';
import { binding, runner } from '../builders/runner.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { testClient, testNamespace, uniqueName } from '../harness/control-plane.ts';
import { type Kubectl, type KubectlResult, openKubectl } from './crds-kubectl.ts';

let client: KubeClient;
let kubectl: Kubectl;
let namespace: string;

beforeAll(async () => {
  client = testClient();
  kubectl = await openKubectl();
  namespace = await testNamespace(client);
});

afterAll(async () => {
  await kubectl?.close();
  await client?.close();
});

const FIRST = binding(linuxHost());
const bind = (attempt: number, changes: object = {}) => ({
  spec: { binding: { ...FIRST, attempt, ...changes } },
});
const EARLIER = {
  hostName: 'lost',
  attempt: 1,
  resources: FIRST.resources,
  templateDigest: FIRST.templateDigest,
};
const failure = (attempt: number) => ({
  attempt,
  hostName: FIRST.hostName,
  reason: 'CloneFailed',
  message: 'no room',
  finishedAt: '2026-01-01T00:00:00Z',
});
const status = (fields: object | null) => ({ status: fields });

const patchRunner = (name: string, patch: object): Promise<KubectlResult> =>
  kubectl.run([
    'patch',
    'runner',
    name,
    ...['--namespace', namespace, '--type', 'merge', '--patch', JSON.stringify(patch)],
    ...('status' in patch ? ['--subresource', 'status'] : []),
  ]);

/** A Runner that has been through these patches. */
async function runnerAfter(patches: readonly object[]): Promise<string> {
  const fields = {
    setupScript: { inline: '#!/bin/sh\necho hush-hush' },
    hostSelector: { pool: 'ios' },
    timeouts: { boot: '3m' },
    runnerName: 'one',
  };
  const { metadata } = await client
    .resources<Runner>(RUNNERS)
    .create(runner({ metadata: { namespace }, spec: fields }));
  for (const patch of patches) {
    const { exitCode, stderr } = await patchRunner(metadata.name, patch);
    expect({ patch, exitCode, stderr }).toEqual({ patch, exitCode: 0, stderr: '' });
  }
  return metadata.name;
}

const IMMUTABLE = 'cannot be changed: delete the Runner and create a new one';
const GATE = 'must equal spec.binding.attempt: only the bound attempt may run the setup script';

describe('a bad update of a Runner is refused with the field and what would be right', () => {
  test.each<[string, object[], object, string[]]>([
    ['another template', [], { spec: { templateName: 'macos' } }, ['spec.templateName', IMMUTABLE]],
    ['another class', [], { spec: { className: 'large' } }, ['spec.className', IMMUTABLE]],
    ['no class any more', [], { spec: { className: null } }, ['spec.className', IMMUTABLE]],
    ['another runner name', [], { spec: { runnerName: 'two' } }, ['spec.runnerName', IMMUTABLE]],
    ['another script', [], { spec: { setupScript: { inline: 'x' } } }, ['spec.setupScript', IMMUTABLE]],
    ['no script any more', [], { spec: { setupScript: null } }, ['spec.setupScript', IMMUTABLE]],
    ['other output', [], { spec: { setupScript: { keepOutput: false } } }, ['spec.setupScript', IMMUTABLE]],
    ['another completion', [], { spec: { completion: 'Never' } }, ['spec.completion', IMMUTABLE]],
    ['other starts', [], { spec: { startAttempts: 5 } }, ['spec.startAttempts', IMMUTABLE]],
    ['one more label', [], { spec: { hostSelector: { a: 'b' } } }, ['spec.hostSelector', IMMUTABLE]],
    ['another timeout', [], { spec: { timeouts: { boot: '9m' } } }, ['spec.timeouts', IMMUTABLE]],
    ['one more timeout', [], { spec: { timeouts: { clone: '9m' } } }, ['spec.timeouts', IMMUTABLE]],
    ['a second attempt first', [], bind(2), ['spec.binding', 'must have attempt 1']],
    ['attempt 1000', [], bind(1000), ['spec.binding.attempt', 'less than or equal to 999']],
    ['attempt 0', [], bind(0), ['spec.binding.attempt', 'greater than or equal to 1']],
    [
      'another host in the same attempt',
      [bind(1)],
      bind(1, { hostName: 'other' }),
      ['spec.binding', 'cannot change within an attempt: bind anew with attempt + 1'],
    ],
    [
      'other sizes in the same attempt',
      [bind(1)],
      { spec: { binding: { resources: { cpu: 9 } } } },
      ['spec.binding', 'cannot change within an attempt'],
    ],
    ['a skipped attempt', [bind(1)], bind(3), ['spec.binding.attempt', 'must stay as it is or grow by one']],
    ['an attempt back', [bind(1), bind(2)], bind(1), ['spec.binding.attempt', 'must stay as it is or grow']],
    [
      'no binding any more',
      [bind(1)],
      { spec: { binding: null } },
      ['spec.binding', 'cannot be removed: to give up the VM, delete the Runner'],
    ],
    [
      'a host name that is none',
      [],
      bind(1, { hostName: 'Mini' }),
      ['spec.binding.hostName', 'name of a host'],
    ],
    [
      'a digest that is none',
      [],
      bind(1, { templateDigest: 'sha256:abc' }),
      ['spec.binding.templateDigest', 'must be "sha256:" and 64 hexadecimal digits'],
    ],
    [
      'memory without a unit',
      [],
      bind(1, { resources: { cpu: 1, memory: '8', disk: '1Gi' } }),
      ['spec.binding.resources.memory', 'must be a size'],
    ],
    ['the gate without a binding', [], status({ scriptAttempt: 1 }), ['status.scriptAttempt', GATE]],
    [
      'the gate for an attempt that is not bound any more',
      [bind(1), bind(2)],
      status({ scriptAttempt: 1 }),
      ['status.scriptAttempt', GATE],
    ],
    [
      'another attempt after the gate',
      [bind(1), status({ scriptAttempt: 1 })],
      bind(2),
      ['status.scriptAttempt', 'after that no other is bound'],
    ],
    [
      'the gate for another attempt',
      [bind(1), status({ scriptAttempt: 1 })],
      status({ scriptAttempt: 2 }),
      ['status.scriptAttempt', 'the setup script is never run twice'],
    ],
    [
      'the gate taken back',
      [bind(1), status({ scriptAttempt: 1 })],
      status({ scriptAttempt: null }),
      ['status.scriptAttempt', 'cannot be changed nor removed once set'],
    ],
    [
      'the whole status taken back',
      [bind(1), status({ scriptAttempt: 1, attempt: 1 })],
      status(null),
      ['status.scriptAttempt', 'status.attempt', 'can neither shrink nor be removed'],
    ],
    [
      'the attempt of an older status',
      [bind(1), bind(2), status({ attempt: 2 })],
      status({ attempt: 1 }),
      ['status.attempt', 'can neither shrink nor be removed'],
    ],
    [
      'a deadline of nothing',
      [],
      { spec: { activeDeadlineSeconds: 0 } },
      ['spec.activeDeadlineSeconds', 'greater than or equal to 1'],
    ],
    [
      'what is left of earlier attempts, told later',
      [bind(1), bind(2)],
      bind(2, { earlier: [EARLIER] }),
      ['spec.binding', 'cannot change within an attempt'],
    ],
    [
      'an earlier attempt twice',
      [bind(1)],
      bind(2, { earlier: [EARLIER, EARLIER] }),
      ['spec.binding.earlier[1]', 'Duplicate value'],
    ],
    [
      'an earlier attempt without its sizes',
      [bind(1)],
      bind(2, { earlier: [{ ...EARLIER, resources: undefined }] }),
      ['spec.binding.earlier[0].resources', 'Required value'],
    ],
    [
      'the failure of an attempt that never was',
      [bind(1)],
      status({ attempts: [failure(2)] }),
      ['status.attempts', 'cannot tell of an attempt that was never bound'],
    ],
    [
      'a failure before anything was bound',
      [],
      status({ attempts: [failure(1)] }),
      ['status.attempts', 'cannot tell of an attempt that was never bound'],
    ],
    [
      'the failure of a start behind the gate',
      [bind(1), status({ scriptAttempt: 1 })],
      status({ attempts: [failure(1)] }),
      ['status.attempts', 'an attempt that was permitted to run the setup script is the last'],
    ],
    [
      'the gate for an attempt that has failed',
      [bind(1), status({ attempts: [failure(1)] })],
      status({ scriptAttempt: 1 }),
      ['status.attempts', 'an attempt that was permitted to run the setup script is the last'],
    ],
    [
      'a failure without a reason',
      [bind(1)],
      status({ attempts: [{ ...failure(1), reason: '' }] }),
      ['status.attempts[0].reason', 'at least 1 char'],
    ],
    [
      'a failure at a time that is none',
      [bind(1)],
      status({ attempts: [{ ...failure(1), finishedAt: 'late' }] }),
      ['status.attempts[0].finishedAt', 'must be of type date-time'],
    ],
    [
      'one failure twice',
      [bind(1)],
      status({ attempts: [failure(1), failure(1)] }),
      ['status.attempts[1]', 'Duplicate value'],
    ],
    [
      'more than 20 failures',
      [bind(1)],
      status({ attempts: Array.from({ length: 21 }, (_, index) => failure(index + 1)) }),
      ['status.attempts', 'must have at most 20 items'],
    ],
    [
      'a negative time to live',
      [],
      { spec: { ttlSecondsAfterFinished: -1 } },
      ['spec.ttlSecondsAfterFinished', 'greater than or equal to 0'],
    ],
    ['an unknown phase', [], status({ phase: 'Lost' }), ['status.phase', '"Pending", "Creating"']],
    [
      'a time that is none',
      [],
      status({ startedAt: 'yesterday' }),
      ['status.startedAt', 'must be of type date-time'],
    ],
    [
      'two conditions of one type',
      [],
      status({ conditions: [readyOf('A'), readyOf('B')] }),
      ['status.conditions[1]', 'Duplicate value', '"type":"Ready"'],
    ],
    [
      'output beyond 4 KiB',
      [],
      status({ setup: { outputTail: 'x'.repeat(4097) } }),
      ['status.setup.outputTail', 'may not be more than 4096'],
    ],
  ])('%s', async (_, before, patch, says) => {
    const { exitCode, stderr } = await patchRunner(await runnerAfter(before), patch);
    for (const part of says) expect(stderr).toContain(part);
    expect(stderr).not.toContain('hush-hush');
    expect(exitCode).toBe(1);
  });
});

function readyOf(reason: string) {
  return { type: 'Ready', status: 'True', reason, message: '', lastTransitionTime: '2026-01-01T00:00:00Z' };
}

describe('an update that a Runner may undergo is accepted', () => {
  test.each<[string, object[]]>([
    ['its first binding', [bind(1)]],
    ['the same binding again', [bind(1), bind(1)]],
    ['a second attempt on another host', [bind(1), bind(2, { hostName: 'other', hostUID: 'uid-2' })]],
    ['the gate', [bind(1), status({ scriptAttempt: 1, attempt: 1 })]],
    [
      'the gate of a second attempt',
      [bind(1), status({ attempt: 1 }), bind(2), status({ scriptAttempt: 2 })],
    ],
    ['a second attempt while the first is held', [bind(1), bind(2, { earlier: [EARLIER] })]],
    [
      'a failed attempt, then the gate of the next',
      [bind(1), status({ attempts: [failure(1)] }), bind(2), status({ scriptAttempt: 2, attempt: 2 })],
    ],
    ['its end after the gate', [bind(1), status({ scriptAttempt: 1 }), status({ phase: 'Finished' })]],
    [
      'a deadline, a later one, and none any more',
      [60, 3_600, null].map((activeDeadlineSeconds) => ({ spec: { activeDeadlineSeconds } })),
    ],
    [
      'a time to live, when it is over, another one, and none any more',
      [
        status({ phase: 'Finished' }),
        ...[0, 3_600, null].map((ttlSecondsAfterFinished) => ({ spec: { ttlSecondsAfterFinished } })),
      ],
    ],
    ['a deadline once it is bound', [bind(1), { spec: { activeDeadlineSeconds: 60 } }]],
    [
      'labels, annotations and finalizers',
      [{ metadata: { labels: { a: 'b' }, finalizers: ['a.example/b'] } }],
    ],
  ])('%s', async (_, patches) => {
    expect(await runnerAfter(patches)).toMatch(/^runner-/);
  });
});

describe('a manifest that is given again after the Runner was bound', () => {
  const manifestOf = (name: string): string =>
    JSON.stringify({
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name, namespace },
      spec: { templateName: 'linux' },
    });

  /** Applied as the flags say, bound by someone else, then given again by the command. */
  const giveAgain = async (apply: string[], again: string[]): Promise<KubectlResult> => {
    const name = uniqueName('runner');
    await kubectl.ok([...apply, '-f', '-'], manifestOf(name));
    expect(await patchRunner(name, bind(1))).toMatchObject({ exitCode: 0 });
    return kubectl.run([...again, '-f', '-'], manifestOf(name));
  };

  test.each([[['apply']], [['apply', '--server-side']]])(
    'kubectl %j leaves the binding alone',
    async (apply) => {
      expect(await giveAgain(apply, apply)).toMatchObject({ exitCode: 0, stderr: '' });
    },
  );

  test('kubectl replace is told that it would take the binding away', async () => {
    const { exitCode, stderr } = await giveAgain(['apply'], ['replace']);
    expect(stderr).toContain(
      'spec.binding: Forbidden: cannot be removed: to give up the VM, delete the Runner',
    );
    expect(exitCode).toBe(1);
  });
});

describe('Templates, RunnerClasses and hosts', () => {
  const someHost = async (): Promise<string> => {
    const name = uniqueName('host');
    await client.resources<Host>(LINUX_HOSTS).create(linuxHost({ metadata: { name } }));
    onTestFinished(async () => void (await client.resources(LINUX_HOSTS).delete({ name })));
    return name;
  };

  const patchObject = (plural: string, name: string, spec: object): Promise<KubectlResult> =>
    kubectl.run(['patch', plural, name, '--type', 'merge', '--patch', JSON.stringify({ spec })]);

  test.each([
    ['os', { os: 'macOS' }],
    ['arch', { arch: 'arm64' }],
  ])('the %s of a Template is immutable', async (field, spec) => {
    const name = uniqueName('template');
    await client.resources<Template>(TEMPLATES).create(template({ metadata: { name } }));
    const { exitCode, stderr } = await patchObject('templates', name, spec);
    expect(stderr).toContain(`spec.${field}`);
    expect(stderr).toContain('cannot be changed: delete the Template and create a new one');
    expect(exitCode).toBe(1);
  });

  test('the rest of a Template may change', async () => {
    const name = uniqueName('template');
    await client.resources<Template>(TEMPLATES).create(template({ metadata: { name } }));
    const { exitCode, stderr } = await patchObject('templates', name, {
      ssh: { user: 'admin', port: 2222, privateKeySecretRef: { name: 'ssh', key: 'id_ed25519' } },
      guestAgent: { enabled: false },
      minimum: { cpu: 2, memory: '2Gi', disk: '10Gi' },
      timeouts: { clone: '1m', boot: '2m', setup: '1h' },
      source: { bundle: { name: 'linux-2', digest: `sha256:${'3'.repeat(64)}` } },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  });

  test('a Template gets no timeout that is none', async () => {
    const name = uniqueName('template');
    await client.resources<Template>(TEMPLATES).create(template({ metadata: { name } }));
    const { exitCode, stderr } = await patchObject('templates', name, { timeouts: { boot: '5' } });
    expect(stderr).toContain('spec.timeouts.boot');
    expect(stderr).toContain('must be a duration longer than 0s and no longer than 168h');
    expect(exitCode).toBe(1);
  });

  test.each<[string, object, string[]]>([
    [
      'a reserve without a unit',
      { reserved: { memory: '4' } },
      ['spec.reserved.memory', 'must be 0 or a size'],
    ],
    ['a share for a reserve', { reserved: { disk: '10%' } }, ['spec.reserved.disk', 'must be 0 or a size']],
    [
      'fewer than no CPUs reserved',
      { reserved: { cpu: -1 } },
      ['spec.reserved.cpu', 'greater than or equal'],
    ],
  ])('a host gets not %s', async (_, spec, says) => {
    const name = await someHost();
    const { exitCode, stderr } = await patchObject('linuxhosts', name, spec);
    for (const part of says) expect(stderr).toContain(part);
    expect(exitCode).toBe(1);
  });

  test.each([
    [{ reserved: { cpu: 2, memory: '4Gi', disk: '50Gi' } }],
    [{ reserved: { memory: '0' } }],
    [{ reserved: null }],
  ])('a host may be given %j', async (spec) => {
    const { exitCode, stderr } = await patchObject('linuxhosts', await someHost(), spec);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  });

  test('a RunnerClass may change', async () => {
    const name = uniqueName('class');
    await client.resources<RunnerClass>(RUNNER_CLASSES).create(runnerClass({ metadata: { name } }));
    const { exitCode, stderr } = await patchObject('runnerclasses', name, {
      cpu: 1,
      memory: '1Gi',
      disk: '1Gi',
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  });
});
