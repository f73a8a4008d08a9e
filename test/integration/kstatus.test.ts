import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LINUX_HOSTS, MAC_HOSTS, RUNNER_CLASSES, TEMPLATES } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject } from '../../kube/object.ts';
import { linuxHost, macHost } from '../builders/host.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { uniqueName } from '../builders/stored.ts';
import { template } from '../builders/template.ts';
import { argoHealth, type Health } from '../harness/argocd.ts';
import { testClient, testNamespace } from '../harness/control-plane.ts';
import { kstatus, type Verdict } from '../harness/kstatus.ts';
import { RunnerLife } from './kstatus-life.ts';

let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  client = testClient();
  namespace = await testNamespace(client);
});

afterAll(() => client?.close());

const FULL = { reason: 'NoHostFits', message: '1 host: 1 full' } as const;
const withScript = { spec: { setupScript: { inline: 'true' } } };

/** A step of a life, and what is seen of the Runner after it. */
type Step = readonly [what: (life: RunnerLife) => Promise<void>, phase: string, verdict: Verdict];

const asCreated: Step = [async () => {}, 'Pending', 'InProgress'];
const bound: Step = [(life) => life.isBound(), 'Pending', 'InProgress'];
const untilReady: readonly Step[] = [
  asCreated,
  [(life) => life.waits(FULL), 'Pending', 'InProgress'],
  bound,
  [(life) => life.clones(), 'Creating', 'InProgress'],
  [(life) => life.boots(), 'Booting', 'InProgress'],
  [(life) => life.answersSsh(), 'SSHReady', 'InProgress'],
  [(life) => life.runsScript(), 'Running', 'InProgress'],
  [(life) => life.isReady(), 'Running', 'Current'],
];

const HEALTH_OF: Readonly<Record<Verdict, Health['status']>> = {
  InProgress: 'Progressing',
  Current: 'Healthy',
  Failed: 'Degraded',
  Terminating: 'Progressing',
};

/** After each step kstatus, and Argo CD with the documented check, say of the object what is expected. */
async function walk(life: RunnerLife, steps: readonly Step[]): Promise<void> {
  for (const [index, [act, phase, verdict]] of steps.entries()) {
    await act(life);
    const { runner } = life;
    const { status: health } = await argoHealth(runner);
    expect({ index, phase: runner.status?.phase, verdict: kstatus(runner), health }).toEqual({
      index,
      phase,
      verdict,
      health: HEALTH_OF[verdict],
    });
  }
}

describe('kstatus says of a Runner', () => {
  test('that finishes: InProgress, Current once it is ready and again when it is over', async () => {
    const life = await RunnerLife.begin(client, namespace, withScript);
    const finished = life.outcome('Finished', 'JobFinished');
    await walk(life, [
      ...untilReady,
      [() => life.losesHost(), 'Running', 'InProgress'],
      [() => life.isReady(), 'Running', 'Current'],
      [() => life.isTornDown(finished), 'TearingDown', 'InProgress'],
      [() => life.isOver(finished), 'Finished', 'Current'],
      [() => life.isDeleted(), 'Finished', 'Terminating'],
    ]);
  });

  test('whose script fails: InProgress, then Failed', async () => {
    const life = await RunnerLife.begin(client, namespace, withScript);
    const failed = life.outcome('Error', 'ScriptFailed', { exitCode: 42 });
    await walk(life, [
      ...untilReady.slice(0, -1),
      [() => life.isTornDown(failed), 'TearingDown', 'InProgress'],
      [() => life.isOver(failed), 'Error', 'Failed'],
      [() => life.isDeleted(), 'Error', 'Terminating'],
    ]);
  });

  test('whose first start fails: InProgress until the next one is ready', async () => {
    const life = await RunnerLife.begin(client, namespace);
    const failed = life.outcome('Error', 'BootTimeout');
    const backingOff = { reason: 'NoHostFits', message: '1 host: 1 full' } as const;
    await walk(life, [
      asCreated,
      bound,
      [() => life.boots(), 'Booting', 'InProgress'],
      [() => life.isTornDown(failed), 'TearingDown', 'InProgress'],
      [() => life.isOver(failed, 'Booting'), 'Pending', 'InProgress'],
      [() => life.waits(backingOff), 'Pending', 'InProgress'],
      [() => life.isBound(), 'Pending', 'InProgress'],
      [() => life.boots(), 'Booting', 'InProgress'],
      [() => life.isReady(), 'SSHReady', 'Current'],
    ]);
  });

  test('that never answers SSH: InProgress, then Failed', async () => {
    const life = await RunnerLife.begin(client, namespace, { spec: { startAttempts: 1 } });
    await walk(life, [
      asCreated,
      bound,
      [() => life.boots(), 'Booting', 'InProgress'],
      [() => life.isOver(life.outcome('Error', 'BootTimeout'), 'Booting'), 'Error', 'Failed'],
    ]);
  });

  test('without a script: Current as soon as SSH answers', async () => {
    const life = await RunnerLife.begin(client, namespace);
    await walk(life, [
      asCreated,
      bound,
      [() => life.boots(), 'Booting', 'InProgress'],
      [() => life.isReady(), 'SSHReady', 'Current'],
    ]);
  });

  test('that is deleted in the midst of its work: Terminating, whatever is written afterwards', async () => {
    const life = await RunnerLife.begin(client, namespace, withScript);
    await walk(life, [
      ...untilReady,
      [() => life.isDeleted(), 'Running', 'Terminating'],
      [() => life.isTornDown(), 'TearingDown', 'Terminating'],
    ]);
  });
});

describe('kstatus says of the other kinds', () => {
  test.each([
    ['Template', TEMPLATES, template(), 'InProgress'],
    ['LinuxHost', LINUX_HOSTS, linuxHost(), 'InProgress'],
    ['MacHost', MAC_HOSTS, macHost(), 'InProgress'],
    ['RunnerClass', RUNNER_CLASSES, runnerClass(), 'Current'],
  ] as const)('a new %s: %s', async (_, resource, object, verdict) => {
    const resources = client.resources<KubeObject>(resource);
    const { apiVersion, kind, spec } = object;
    const created = await resources.create({
      apiVersion,
      kind,
      metadata: { name: uniqueName('new') },
      spec,
    } as KubeObject);
    expect(kstatus(created)).toBe(verdict);
  });
});

test('Argo CD shows why a Runner waits, and what it failed of', async () => {
  const life = await RunnerLife.begin(client, namespace, withScript);
  expect((await argoHealth(life.runner)).message).toBe('the Runner has not been looked at yet');
  await life.waits(FULL);
  expect((await argoHealth(life.runner)).message).toBe('NoHostFits: 1 host: 1 full');
  await life.isBound();
  expect((await argoHealth(life.runner)).message).toBe(
    `the Runner is bound to ${life.hostName}, which has not reported yet`,
  );
  await life.boots();
  expect((await argoHealth(life.runner)).message).toBe('Booting: the VM boots');
  await life.isOver(life.outcome('Error', 'BootTimeout'), 'Booting');
  expect((await argoHealth(life.runner)).message).toBe(
    `AttemptFailed: 1 of 3 starts have failed; attempt 1 on host ${life.hostName}: BootTimeout: as BootTimeout says`,
  );
  await life.isBound();
  expect((await argoHealth(life.runner)).message).toContain('which has not reported yet');
  await life.answersSsh();
  const failed = life.outcome('Error', 'ScriptFailed', { exitCode: 42 });
  await life.isOver(failed);
  expect((await argoHealth(life.runner)).message).toBe(`ScriptFailed: ${failed.message}`);
});
