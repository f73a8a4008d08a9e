import { afterAll, beforeAll, expect, test } from 'vitest';
import { conditionOf, Fleet } from '../harness/fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await Fleet.start();
});
afterAll(() => fleet.stop());

const whenUnbound = async (name: string, reason: string) =>
  conditionOf(
    await fleet.when(name, `unbound: ${reason}`, (runner) => conditionOf(runner, 'Bound')?.reason === reason),
    'Bound',
  );

test('an unknown template is waited for', async () => {
  await fleet.create('templateless', { templateName: 'later', setupScript: { inline: 'true' } });
  expect((await whenUnbound('templateless', 'TemplateNotFound'))?.message).toContain('later');
  await fleet.declareTemplate('later', 'debian');
  await fleet.whenReady('templateless');
  await fleet.burn('templateless');
});

test('an unknown class is waited for, and sizes the VM once it is there', async () => {
  await fleet.create('classless', {
    className: 'roomy',
    setupScript: { inline: 'nproc; df -BM --output=size / | tail -1' },
  });
  expect((await whenUnbound('classless', 'ClassNotFound'))?.message).toContain('roomy');
  const manifest = {
    apiVersion: 'shoesvz.dev/v1alpha1',
    kind: 'RunnerClass',
    metadata: { name: 'roomy' },
    spec: { cpu: 2, memory: '512Mi', disk: '3Gi' },
  };
  await fleet.apply(JSON.stringify(manifest));
  const ready = await fleet.whenReady('classless');
  const [cpus, size] = (ready.status?.setup?.outputTail ?? '').trim().split('\n');
  expect(cpus).toBe('2');
  expect(Number.parseInt(size ?? '', 10)).toBeGreaterThan(2700);
  expect(ready.spec.binding?.resources).toEqual({ cpu: 2, memory: '512Mi', disk: '3Gi' });
  await fleet.burn('classless');
});

test('a selector that no host answers to is waited for', async () => {
  await fleet.create('choosy', { hostSelector: { pool: 'ios' }, setupScript: { inline: 'true' } });
  const bound = await fleet.when(
    'choosy',
    'unbound',
    (runner) => conditionOf(runner, 'Bound')?.status === 'False',
  );
  expect(conditionOf(bound, 'Bound')?.message).toBe('1 host: 1 without the labels of hostSelector');
  await fleet.kubectl('label', 'linuxhost', 'host-a', 'pool=ios');
  await fleet.whenReady('choosy');
  await fleet.burn('choosy');
});

test('a cordoned host takes no Runner until it is uncordoned', async () => {
  await fleet.kubectl(
    'patch',
    'linuxhost',
    'host-a',
    '--type=merge',
    '-p',
    '{"spec":{"unschedulable":true}}',
  );
  await fleet.create('cordoned', { setupScript: { inline: 'true' } });
  const bound = await fleet.when(
    'cordoned',
    'unbound',
    (runner) => conditionOf(runner, 'Bound')?.status === 'False',
  );
  expect(conditionOf(bound, 'Bound')?.message).toContain('1 cordoned');
  await fleet.kubectl(
    'patch',
    'linuxhost',
    'host-a',
    '--type=merge',
    '-p',
    '{"spec":{"unschedulable":false}}',
  );
  await fleet.whenReady('cordoned');
  await fleet.burn('cordoned');
});
