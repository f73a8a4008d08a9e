import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Host } from '../../crds/host.ts';
import { LINUX_HOSTS, MAC_HOSTS, RUNNERS } from '../../crds/resources.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import { condition } from '../builders/condition.ts';
import { macHost } from '../builders/host.ts';
import { Command, type Ended, runCommand } from '../harness/command.ts';
import { only, refusal, Scratch } from './cli-refusal.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';

const suite = controllerSuite();

const env = () => ({ KUBECONFIG: suite.controlPlane.kubeconfigPath });
const cli = (...args: string[]): Promise<Ended> => runCommand(args, env());

let scratch: Scratch;
beforeEach(async () => {
  scratch = await Scratch.create();
});
afterEach(() => scratch.close());

function start(...args: string[]): Command {
  const command = new Command(args, env());
  scratch.onClose(() => command.kill());
  return command;
}

/** A host with these Runners bound to it, each as its node daemon told last. */
async function hostWith(statuses: Record<string, Partial<RunnerStatus>>): Promise<Stored<Host>> {
  const { world } = suite;
  await withBasics(world);
  await world.controller({ hostGraceMs: 1e9 });
  const host = await world.host(4);
  for (const [name, status] of Object.entries(statuses)) {
    await world.runner(name, { spec: { setupScript: { inline: 'x' } } });
    await world.bound(name);
    await tell(name, status);
  }
  return host;
}

async function tell(name: string, status: Partial<RunnerStatus>): Promise<void> {
  const { world } = suite;
  const runners = world.client.resources<Runner>(RUNNERS);
  const object = await runners.get({ namespace: world.namespace, name });
  if (object === undefined) throw new Error(`no Runner ${name}`);
  const { generation: observedGeneration, resourceVersion } = object.metadata;
  await runners.patchStatus(object.metadata, resourceVersion, { status: { observedGeneration, ...status } });
}

const BUSY: Partial<RunnerStatus> = {
  phase: 'Running',
  attempt: 1,
  scriptAttempt: 1,
  guest: { state: 'Running' },
  conditions: [condition('Bound'), condition('SSHReady'), condition('Ready')],
};
const IDLE: Partial<RunnerStatus> = { ...BUSY, guest: { state: 'Idle' } };
const BOOTING: Partial<RunnerStatus> = { phase: 'Booting', attempt: 1, conditions: [condition('Bound')] };

const isCordoned = async (host: Stored<Host>): Promise<boolean> =>
  (await suite.world.getHost(host))?.spec.unschedulable === true;

const isDying = (name: string): boolean => suite.world.get(name)?.metadata.deletionTimestamp !== undefined;

const runnerOf = (name: string): string => `Runner ${suite.world.namespace}/${name}`;

/** Each test starts several processes, on a machine that may do ten other things. */
const PROCESSES = { timeout: 240_000 };

describe('cordon and uncordon', PROCESSES, () => {
  test.each([
    ['LinuxHost', undefined],
    ['MacHost', macHost()],
  ])('find a %s by its name, and do what they say, once', async (_, object) => {
    const host = await suite.world.host(1, object);
    const printed = `${host.kind.toLowerCase()}.shoesvz.dev/${host.metadata.name}`;
    expect(await cli('cordon', host.metadata.name)).toMatchObject({
      code: 0,
      stdout: `${printed} cordoned\n`,
      stderr: '',
    });
    expect(await isCordoned(host)).toBe(true);
    expect((await cli('cordon', printed)).stdout).toBe(`${printed} already cordoned\n`);
    expect((await cli('uncordon', `${host.kind}/${host.metadata.name}`)).stdout).toBe(
      `${printed} uncordoned\n`,
    );
    expect((await suite.world.getHost(host))?.spec).toEqual(host.spec);
  });
});

describe('drain', PROCESSES, () => {
  test('waits for jobs and for what is being destroyed, tells of each, and lets nothing new in', async () => {
    const { world } = suite;
    const host = await hostWith({ busy: BUSY, idle: IDLE, booting: BOOTING });
    const { name } = host.metadata;
    const drain = start('drain', name);
    await drain.says(new RegExp(`^waiting for ${runnerOf('busy')}: Its Actions runner has a job;`));
    await drain.says(
      new RegExp(`^waiting for ${runnerOf('idle')}: It is ready, and its Actions runner waits`),
    );
    await world.runner('late');
    await world.saysOf('late', '1 host: 1 cordoned');
    await world.finish('booting');
    await drain.says(new RegExp(`^${runnerOf('booting')} is gone from ${name}$`));
    await tell('idle', BUSY);
    await drain.says(new RegExp(`^waiting for ${runnerOf('idle')}: Its Actions runner has a job;`));
    await world.finish('idle');
    await world.finish('busy');
    const { code, stdout, stderr } = await drain.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^linuxhost.shoesvz.dev/${name} cordoned\n`));
    expect(stdout).toMatch(new RegExp(`\nlinuxhost.shoesvz.dev/${name} drained\n$`));
    expect(await isCordoned(host)).toBe(true);
  });

  test('--delete-idle deletes what runs no job, and what comes to run none', async () => {
    const { world } = suite;
    const host = await hostWith({
      busy: BUSY,
      idle: IDLE,
      booting: BOOTING,
      starting: { ...BUSY, guest: { state: 'Starting' } },
    });
    const drain = start('drain', host.metadata.name, '--delete-idle');
    await drain.says(new RegExp(`^deleting ${runnerOf('booting')}: Its VM boots`));
    await drain.says(new RegExp(`^deleting ${runnerOf('idle')}: It is ready`));
    await world.until('both to be deleted', () => isDying('idle') && isDying('booting'));
    await drain.says(new RegExp(`^waiting for ${runnerOf('idle')}: It is being deleted, and goes when`));
    expect(isDying('starting')).toBe(false);
    await tell('starting', IDLE);
    await world.until('the third to be deleted', () => isDying('starting'));
    for (const name of ['idle', 'booting', 'starting']) await world.finish(name);
    await drain.says(new RegExp(`^${runnerOf('starting')} is gone from`));
    expect(isDying('busy')).toBe(false);
    await world.finish('busy');
    expect((await drain.ended).code).toBe(0);
  });

  test('--force deletes all, and only what is on that host', async () => {
    const { world } = suite;
    const host = await hostWith({ busy: BUSY, booting: BOOTING });
    await world.patchHost(host, { spec: { unschedulable: true } });
    await world.host(1);
    await world.runner('elsewhere');
    await world.bound('elsewhere');
    const drain = start('drain', host.metadata.name, '--force');
    await drain.says(/ already cordoned$/);
    await world.until('both to be deleted', () => isDying('busy') && isDying('booting'));
    for (const name of ['busy', 'booting']) await world.finish(name);
    expect((await drain.ended).code).toBe(0);
    expect(isDying('elsewhere')).toBe(false);
  });

  test('--dry-run says what would be done and does nothing', async () => {
    const host = await hostWith({ busy: BUSY, idle: IDLE });
    const { name } = host.metadata;
    const { code, stdout } = await cli('drain', name, '--delete-idle', '--dry-run');
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual([
      `linuxhost.shoesvz.dev/${name} cordoned (dry run)`,
      expect.stringContaining(`would wait for ${runnerOf('busy')}: Its Actions runner has a job`),
      expect.stringContaining(`would delete ${runnerOf('idle')}: It is ready`),
      '',
    ]);
    expect(await isCordoned(host)).toBe(false);
    expect(isDying('idle')).toBe(false);
  });

  test('gives up at its timeout, names what is left, and leaves the host cordoned', async () => {
    const host = await hostWith({ busy: BUSY });
    const { name } = host.metadata;
    const { code, stdout, stderr } = await cli('drain', name, '--timeout', '8s');
    expect(code).toBe(1);
    expect(stderr).toBe(`shoes-vz: gave up waiting: ${runnerOf('busy')} still there\n`);
    expect(stdout).toMatch(/ stays cordoned; "shoes-vz uncordon \S+" undoes that\n$/);
    expect(await isCordoned(host)).toBe(true);
  });

  test('that is interrupted leaves the host cordoned and says so', async () => {
    const host = await hostWith({ busy: BUSY });
    const drain = start('drain', host.metadata.name);
    await drain.says(/^waiting for /);
    drain.interrupt();
    const { code, stdout, stderr } = await drain.ended;
    expect({ code, stderr }).toEqual({ code: 130, stderr: 'shoes-vz: stopped by SIGINT\n' });
    expect(stdout).toMatch(/ stays cordoned; /);
    expect(await isCordoned(host)).toBe(true);
  });

  test('of a host that is uncordoned meanwhile does not go on', async () => {
    const host = await hostWith({ busy: BUSY });
    const drain = start('drain', host.metadata.name);
    await drain.says(/^waiting for /);
    await suite.world.patchHost(host, { spec: { unschedulable: false } });
    expect(await drain.ended).toMatchObject({
      code: 1,
      stderr: `shoes-vz: ${host.metadata.name} was uncordoned meanwhile: it may be given Runners at any time\n`,
    });
  });

  test('of a host that is lost says so, and how to declare it dead', async () => {
    const { world } = suite;
    const host = await hostWith({ idle: IDLE });
    const { name } = host.metadata;
    const hosts = world.client.resources<Host>(LINUX_HOSTS);
    const ready = async (status: 'Unknown' | 'True', reason: string): Promise<void> => {
      const current = await hosts.get({ name });
      await hosts.patchStatus({ name }, current?.metadata.resourceVersion ?? '', {
        status: { conditions: [condition('Ready', { status, reason })] },
      });
    };
    await tell('idle', {
      ...IDLE,
      conditions: [condition('SSHReady'), condition('Ready', { status: 'Unknown', reason: 'HostLost' })],
    });
    await ready('Unknown', 'LeaseStale');
    const drain = start('drain', name, '--delete-idle');
    await drain.says(new RegExp(`^${name} is lost: .*: kubectl delete linuxhost.shoesvz.dev/${name}$`));
    await drain.says(/^waiting for /);
    await ready('True', 'Ready');
    await drain.says(new RegExp(`^${name} answers again$`));
    await tell('idle', IDLE);
    await world.until('it to be deleted', () => isDying('idle'));
    await world.finish('idle');
    expect((await drain.ended).code).toBe(0);
  });

  test('of an empty host is done, and of one that was cordoned before at once', async () => {
    const host = await hostWith({});
    const { name } = host.metadata;
    const printed = `linuxhost.shoesvz.dev/${name}`;
    expect((await cli('drain', name)).stdout).toBe(`${printed} cordoned\n${printed} drained\n`);
    expect((await cli('drain', name, '--timeout', '1h')).stdout).toBe(
      `${printed} already cordoned\n${printed} drained\n`,
    );
  });
});

test('a Runner that changed since it was judged is not deleted', async () => {
  const { world } = suite;
  await hostWith({ r: IDLE });
  const runners = world.client.resources<Runner>(RUNNERS);
  const judged = await runners.get({ namespace: world.namespace, name: 'r' });
  if (judged === undefined) throw new Error('no Runner');
  await tell('r', BUSY);
  const { uid, resourceVersion } = judged.metadata;
  await expect(runners.delete(judged.metadata, { uid, resourceVersion })).rejects.toSatisfy(isConflict);
  expect((await runners.get(judged.metadata))?.metadata.deletionTimestamp).toBeUndefined();
});

describe('one line is said of', PROCESSES, () => {
  const commands = ['cordon', 'uncordon', 'drain'];

  test.each(commands)('%s of no host', async (command) => {
    expect(await refusal(scratch, [command, 'nobody'], { env: env() })).toBe(
      'shoes-vz: there is no MacHost or LinuxHost nobody: "kubectl get machosts,linuxhosts" lists those there are',
    );
  });

  test('no host of that kind', async () => {
    const { metadata } = await suite.world.host(1);
    const name = `machost/${metadata.name}`;
    expect(await refusal(scratch, ['drain', name], { env: env() })).toMatch(
      /^shoes-vz: there is no MacHost /,
    );
  });

  test.each(commands)('%s without an API server', async (command) => {
    const kubeconfig = await scratch.kubeconfig(await readFile(env().KUBECONFIG, 'utf8'), ({ clusters }) => {
      only(clusters).cluster.server = 'https://127.0.0.1:1';
    });
    expect(await refusal(scratch, [command, 'x', '--kubeconfig', kubeconfig])).toBe(
      'shoes-vz: cannot reach the API server at https://127.0.0.1:1: connection refused',
    );
  });

  test('two hosts of one name', async () => {
    const { world } = suite;
    const { metadata } = await world.host(1);
    const { status: _, ...mac } = macHost({ metadata: { name: metadata.name } });
    const macs = world.client.resources<Host>(MAC_HOSTS);
    await macs.create(mac);
    expect(await refusal(scratch, ['drain', metadata.name], { env: env() })).toMatch(
      /^shoes-vz: there are a MacHost and a LinuxHost \S+: name machost\/\S+ or linuxhost\/\S+$/,
    );
    await macs.delete(mac.metadata);
  });
});
