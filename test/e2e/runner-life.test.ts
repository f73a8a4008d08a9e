import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quorumReadsOf } from '../../bench/harness/audit.ts';
import type { Trace } from '../../cli/why/trace.ts';
import { runCommand } from '../harness/command.ts';
import { conditionOf, Fleet, isOurWrite } from '../harness/fleet.ts';
import { isListening } from '../harness/ports.ts';
import { processesNaming } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await Fleet.start();
});
afterAll(() => fleet.stop());

const bundleNames = (): Promise<string[]> => readdir(join(fleet.host.root, 'runners'));

test('a Runner is applied, answers SSH, runs its script, and leaves nothing when it is deleted', async () => {
  await fleet.create('first', { setupScript: { inline: 'echo "hello from $(hostname)"; id -un' } });
  const ready = await fleet.whenReady('first');
  expect(ready.status).toMatchObject({
    phase: 'Running',
    attempt: 1,
    scriptAttempt: 1,
    ipAddress: '10.0.2.15',
    setup: { exitCode: 0, outputTail: 'hello from first\nrunner\n' },
    ssh: { user: 'runner', port: expect.any(Number), hostKey: expect.stringMatching(/^ssh-ed25519 /) },
    timings: { cloneMs: expect.any(Number), bootToSshMs: expect.any(Number), totalMs: expect.any(Number) },
  });
  expect(conditionOf(ready, 'SSHReady')?.status).toBe('True');
  expect(await fleet.ssh(ready, 'cat /proc/sys/kernel/hostname')).toBe('first');
  const bundle = join(fleet.host.root, 'runners', `${ready.metadata.uid}.1.bundle`);
  expect(await processesNaming(bundle)).toHaveLength(1);

  await fleet.burn('first');
  expect(await processesNaming(bundle)).toEqual([]);
  await until('the last trace on disk to go', async () => (await bundleNames()).length === 0);
  const { host, port } = ready.status?.ssh ?? { host: '', port: 0 };
  expect(await isListening(host, port)).toBe(false);
});

/** Reasons of the Events about a Runner up to its last one, Purged. */
async function eventsOf(name: string): Promise<string[]> {
  const about = ['--field-selector', `involvedObject.name=${name}`, '--sort-by=.eventTime'];
  let reasons: string[] = [];
  await until(`the Event Purged of ${name}`, async () => {
    const listed = await fleet.kubectl('get', 'events', ...about, '-o', 'jsonpath={.items[*].reason}');
    reasons = listed.split(' ');
    return reasons.includes('Purged');
  });
  return reasons;
}

test('of our own writes over an undisturbed life at most seven are to the Runner, and at most four are Events', async () => {
  const before = (await fleet.audit()).length;
  await fleet.create('counted', { setupScript: { inline: 'sleep 2' } });
  await fleet.whenReady('counted');
  await fleet.burn('counted');
  expect(await eventsOf('counted')).toEqual(['Bound', 'SSHReady', 'Purged']);
  const requests = (await fleet.audit()).slice(before);
  const writes = requests.filter(isOurWrite);
  const writesTo = (resource: string): string[] =>
    writes
      .filter(({ objectRef }) => objectRef?.resource === resource)
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource}/${objectRef?.subresource ?? ''}`);
  const toRunner = writesTo('runners');
  expect(toRunner.length, toRunner.join(', ')).toBeLessThanOrEqual(7);
  expect(toRunner.length).toBeGreaterThanOrEqual(4);
  expect(writesTo('events').length).toBeLessThanOrEqual(4);
  // Before anything is made and before the process, as the binding protocol has it; and whether it is gone.
  const quorumReads = quorumReadsOf('counted', requests).length;
  expect(quorumReads).toBeGreaterThanOrEqual(2);
  expect(quorumReads).toBeLessThanOrEqual(4);
});

test('kubectl declares, shows, awaits and deletes', async () => {
  const manifest = `
apiVersion: shoesvz.dev/v1alpha1
kind: Runner
metadata:
  name: by-kubectl
spec:
  templateName: linux
  completion: Never
  setupScript:
    inline: |
      #!/bin/sh
      echo from kubectl
`;
  expect(await fleet.apply(manifest)).toContain('runner.shoesvz.dev/by-kubectl created');
  const waited = await fleet.kubectl('wait', '--for=condition=Ready', '--timeout=110s', 'runner/by-kubectl');
  expect(waited).toContain('condition met');
  const [head, row] = (await fleet.kubectl('get', 'rn', 'by-kubectl')).trim().split('\n');
  expect(head).toMatch(/^NAME +PHASE +HOST +TEMPLATE +IP +AGE/);
  expect(row).toMatch(/^by-kubectl +Running +.*host-a/);
  expect(await fleet.kubectl('get', 'shoesvz', '-A')).toContain('linuxhost.shoesvz.dev/host-a');
  const output = await fleet.kubectl(
    'get',
    'runner',
    'by-kubectl',
    '-o',
    'jsonpath={.status.setup.outputTail}',
  );
  expect(output).toBe('from kubectl\n');
  expect(await fleet.kubectl('delete', 'runner', 'by-kubectl', '--timeout=60s')).toContain('deleted');
  await expect(fleet.kubectl('get', 'runner', 'by-kubectl')).rejects.toThrow('not found');
});

describe('a script', () => {
  test('that fails ends the Runner, with its exit code and the end of its output', async () => {
    await fleet.create('failing', { setupScript: { inline: 'echo it breaks >&2; exit 42' } });
    const { status, metadata } = await fleet.whenPhase('failing', 'Error');
    expect(status?.setup).toEqual({ exitCode: 42, outputTail: 'it breaks\n' });
    const stalled = status?.conditions?.find(({ type }) => type === 'Stalled');
    expect(stalled).toMatchObject({
      status: 'True',
      reason: 'ScriptFailed',
      message: expect.stringContaining('42'),
    });
    expect(status?.conditions?.find(({ type }) => type === 'Ready')).toBeUndefined();
    await until('its bundle to go', async () => !(await bundleNames()).includes(`${metadata.uid}.1.bundle`));
    await until(
      'the finalizer to go',
      async () => (await fleet.get('failing'))?.metadata.finalizers === undefined,
    );
    expect(await eventsOf('failing')).toEqual(['Bound', 'SSHReady', 'ScriptFailed', 'Purged']);
    await fleet.burn('failing');
  });

  test('that never ends is over at timeouts.setup', async () => {
    await fleet.create('endless', { setupScript: { inline: 'sleep 1000' }, timeouts: { setup: '3s' } });
    const runner = await fleet.whenPhase('endless', 'Error');
    expect(conditionOf(runner, 'Stalled')).toMatchObject({ reason: 'SetupTimeout' });
    await fleet.burn('endless');
  });

  test('that is the job finishes the Runner by itself', async () => {
    await fleet.create('job', { completion: 'Script', setupScript: { inline: 'echo done' } });
    const runner = await fleet.whenPhase('job', 'Finished');
    expect(conditionOf(runner, 'Finished')).toMatchObject({ status: 'True', reason: 'ScriptSucceeded' });
    expect(runner.status).toMatchObject({
      setup: { exitCode: 0, outputTail: 'done\n' },
      finishedAt: expect.any(String),
    });
    await until(
      'its bundle to go',
      async () => !(await bundleNames()).includes(`${runner.metadata.uid}.1.bundle`),
    );
    expect(await eventsOf('job')).toEqual(['Bound', 'SSHReady', 'Finished', 'Purged']);
    const { kubeconfigPath } = fleet.controlPlane;
    const { stdout } = await runCommand(['why', 'job', '--json'], { KUBECONFIG: kubeconfigPath });
    const { steps, now }: Trace = JSON.parse(stdout);
    expect(steps.map(({ step, state }) => `${step} ${state}`)).toEqual([
      'host done',
      'clone done',
      'start done',
      'boot done',
      'setup done',
      'teardown done',
    ]);
    expect(now.says).toBe('It is over: the setup script exited with code 0.');
    await fleet.burn('job');
  });

  test('from a Secret runs when the Secret is there, and its text shows nowhere', async () => {
    const secretKeyRef = { name: 'setup', key: 'script' };
    await fleet.create('secretive', { completion: 'Never', setupScript: { secretKeyRef } });
    const waiting = await fleet.when(
      'secretive',
      'waiting for the Secret',
      (runner) => conditionOf(runner, 'Ready')?.reason === 'SetupWaiting',
    );
    expect(conditionOf(waiting, 'Ready')?.message).toContain('Secret setup');
    await fleet.kubectl(
      'create',
      'secret',
      'generic',
      'setup',
      '--from-literal=script=echo t0ken-of-mine; cat /proc/*/cmdline 2>/dev/null | tr "\\0" " " > /tmp/argv; true',
    );
    const ready = await fleet.whenReady('secretive');
    expect(ready.status?.setup).toEqual({ exitCode: 0 });
    expect(JSON.stringify(ready)).not.toContain('t0ken');
    expect(await fleet.ssh(ready, 'grep -c t0ken /tmp/argv || true')).toBe('0');
    expect(fleet.host.daemon.output).not.toContain('t0ken');
    await fleet.burn('secretive');
  });
});

test('a template without the agent works too', async () => {
  await fleet.declareTemplate('plain', 'debian-plain', false);
  await fleet.create('plain', {
    templateName: 'plain',
    completion: 'Job',
    setupScript: { inline: 'cat ~/.ssh/authorized_keys | wc -l; echo plain' },
  });
  const runner = await fleet.whenPhase('plain', 'Finished');
  expect(runner.status?.setup).toEqual({ exitCode: 0, outputTail: '1\nplain\n' });
  await fleet.burn('plain');
});
