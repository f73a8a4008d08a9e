import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Trace } from '../../cli/why/trace.ts';
import { RETELL_AFTER_MS } from '../../controller/runner/decide.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { EVENTS, EventRecorder } from '../../kube/events.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { type Ended, runCommand } from '../harness/command.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import { RunnerLife } from './kstatus-life.ts';

const suite = controllerSuite();

const why = (name: string, ...options: string[]): Promise<Ended> =>
  runCommand(['why', name, '-n', suite.world.namespace, ...options], {
    KUBECONFIG: suite.controlPlane.kubeconfigPath,
  });

/** What it prints for a Runner that is there. */
async function tells(name: string): Promise<string> {
  const { code, stdout, stderr } = await why(name);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

const asJson = async (name: string): Promise<Trace> => JSON.parse((await why(name, '--json')).stdout);

describe('why', () => {
  test('tells of a Runner that waits for what, and what it waited for before, for how long', async () => {
    const { world } = suite;
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await world.runner('r');
    await world.saysOf('r', 'Template linux does not exist');
    await world.template(template());
    await world.runnerClass(runnerClass());
    await world.eventually('another reason', async () => {
      clock.skip(RETELL_AFTER_MS / 10);
      return world.condition('r', 'Bound')?.reason === 'NoHostFits' || undefined;
    });
    const text = await world.eventually('both Events', async () => {
      const told = await tells('r');
      return told.includes('NoHostFits: ') ? told : undefined;
    });
    expect(text).toContain(`Runner ${world.namespace}/r: Pending\n`);
    expect(text).toMatch(/\n {2}wait for a host .* so far\n/);
    expect(text).toMatch(
      /\n +\d.*TemplateNotFound: Template linux does not exist\n.*NoHostFits: there are no hosts\n/,
    );
    expect(text).toContain('\nIt waits for a host: there are no hosts. (NoHostFits)\nIt is bound by itself');

    await world.host(1);
    await world.bound('r');
    const bound = await world.eventually('the Event of the binding', async () => {
      const { steps } = await asJson('r');
      return steps[0]?.state === 'done' ? steps : undefined;
    });
    expect(bound).toEqual([
      {
        step: 'host',
        state: 'done',
        ms: expect.any(Number),
        exact: false,
        reasons: [
          expect.objectContaining({ reason: 'TemplateNotFound', ms: expect.any(Number) }),
          expect.objectContaining({ reason: 'NoHostFits' }),
        ],
      },
      { step: 'clone', state: 'under way', ms: expect.any(Number), exact: true },
    ]);
    expect(await tells('r')).toContain('waits for the node daemon there to take it up');
  });

  test('tells of a Runner that failed its parts, the reason, the exit code and what to do', async () => {
    const { world } = suite;
    await withBasics(world);
    const spec = { setupScript: { inline: 'exit 42' } };
    const life = await RunnerLife.begin(world.client, world.namespace, { spec });
    await life.isBound();
    await life.boots();
    await life.answersSsh();
    await life.runsScript();
    const failed = life.outcome('Error', 'ScriptFailed', { exitCode: 42, outputTail: 'it breaks\n' });
    await life.isOver(failed, 'Scripted');
    const { metadata } = life.runner;
    const text = await tells(metadata.name);
    expect(text).toMatch(/^Runner .*: Error, on /);
    expect(text).toMatch(/\n {2}clone +21 ms\n/);
    expect(text).toMatch(/\n {2}boot until SSH +5\.0 s\n/);
    expect(text).toMatch(/\n {2}setup script .* exit code 42\n/);
    expect(text).toContain(`\nIt failed: ${failed.message}. (ScriptFailed)\nMend the script.`);
    expect(text).toMatch(/\nThe script wrote last:\n {2}it breaks\n$/);
  });

  test('tells the whole of a Runner that finished', async () => {
    const { world } = suite;
    const spec = { setupScript: { inline: 'true' } };
    const life = await RunnerLife.begin(world.client, world.namespace, { spec });
    await life.isBound();
    await life.boots();
    await life.isReady();
    const finished = life.outcome('Finished', 'JobFinished');
    await life.isTornDown(finished);
    await life.isOver(finished);
    const trace = await asJson(life.runner.metadata.name);
    expect(trace).toMatchObject({ phase: 'Finished', host: life.hostName, attempt: 1, deleting: false });
    expect(trace.steps.map(({ step, state }) => `${step} ${state}`)).toEqual([
      'host done',
      'clone done',
      'boot done',
      'setup done',
      'use done',
      'teardown done',
    ]);
    expect(trace.now).toEqual({
      says: 'It is over: as JobFinished says.',
      reason: 'JobFinished',
      advice: 'Nothing is left to be done.',
    });
  });

  test('says of a Runner that is being deleted who holds it', async () => {
    const life = await RunnerLife.begin(suite.world.client, suite.world.namespace);
    await life.isBound();
    await life.boots();
    await life.isDeleted();
    const text = await tells(life.runner.metadata.name);
    expect(text).toContain(': Booting, being deleted, on ');
    expect(text).toContain(`It is being deleted, and goes when ${life.hostName} has destroyed its VM.`);
  });
});

describe('why says in one line', () => {
  test('that there is no such Runner', async () => {
    expect(await why('nobody')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `shoes-vz: there is no Runner nobody in namespace ${suite.world.namespace}: "kubectl get runners -A" lists those there are\n`,
    });
  });

  test('that a Runner is gone, and what was told of it last', async () => {
    const { world } = suite;
    const runner = await world.runner('gone');
    const recorder = new EventRecorder({
      resources: world.client.resources(EVENTS),
      reportingController: 'shoesvz.dev/node-daemon',
      reportingInstance: 'host-a',
    });
    recorder.record(runner, {
      type: 'Normal',
      reason: 'Purged',
      note: 'nothing is left of attempt 1 on host-a',
    });
    await recorder.stop({ deadlineMs: 10_000 });
    await world.client.resources<Runner>(RUNNERS).delete(runner.metadata);
    const { code, stderr } = await why('gone');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^shoes-vz: there is no Runner gone in namespace \S+ any more; the last Event about one of that name, .+ ago: Purged: nothing is left of attempt 1 on host-a\n$/,
    );
  });

  test('that it may not read Events, and tells the rest without them', async () => {
    const runner = await suite.world.runner('told');
    const controllers = join(suite.controlPlane.dataDir, 'impersonating.kubeconfig');
    const { code, stdout, stderr } = await runCommand(
      ['why', runner.metadata.name, '-n', suite.world.namespace],
      { KUBECONFIG: controllers },
    );
    expect(code).toBe(0);
    expect(stdout).toContain('/told: Pending\n');
    expect(stderr).toBe('shoes-vz: without the right to list Events some parts are told less exactly\n');
  });

  test.each([
    ['Not_A_Name', []],
    ['x', ['--namespace', 'a/b']],
  ])('that %s %o is no name', async (name, options) => {
    const { code, stderr } = await runCommand(['why', name, ...options]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^shoes-vz: .*It has to be a name of lower-case letters.*\n$/);
  });
});
