import { describe, expect, test } from 'vitest';
import { RETELL_AFTER_MS } from '../../controller/runner/decide.ts';
import type { Host } from '../../crds/host.ts';
import { LINUX_HOSTS } from '../../crds/resources.ts';
import { condition } from '../builders/condition.ts';
import { defaultRunnerClass, runnerClass } from '../builders/runner-class.ts';
import { LINUX_BUNDLE, template } from '../builders/template.ts';
import { interfered, type Write } from './controller-client.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';

const suite = controllerSuite();

describe('a Runner that waits', () => {
  test('says why in words, counts for tools as in progress, and is bound by the freed slot', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(3);
    await world.controller();
    for (const name of ['a', 'b', 'c']) await world.runner(name);
    await world.bound('a', 'b', 'c');
    await world.runner('fourth');
    const waiting = await world.saysOf('fourth', '1 host: 1 full');
    expect(waiting.status).toMatchObject({
      phase: 'Pending',
      observedGeneration: waiting.metadata.generation,
      conditions: [
        { type: 'Bound', status: 'False', reason: 'NoHostFits', observedGeneration: 1 },
        { type: 'Ready', status: 'Unknown', reason: 'NotBound', observedGeneration: 1 },
      ],
    });
    await world.finish('b');
    await world.bound('fourth');
  });

  test('counts the hosts by reason', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(0);
    await world.host(0);
    await world.host(3, { spec: { unschedulable: true } });
    await world.host(3, { status: { templates: [] } });
    await world.controller();
    await world.runner('r');
    await world.saysOf('r', '4 hosts: 2 full, 1 cordoned, 1 without template linux');
  });

  test('for a host to be rebooted says so, and is bound when it was', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(1);
    const hosts = world.client.resources<Host>(LINUX_HOSTS);
    const conditions = host.status?.conditions ?? [];
    const needed = await hosts.patchStatus(host.metadata, host.metadata.resourceVersion, {
      status: { conditions: [...conditions, condition('NeedsReboot')] },
    });
    await world.controller();
    await world.runner('r');
    await world.saysOf('r', '1 host: 1 in need of a reboot');
    await hosts.patchStatus(host.metadata, needed.metadata.resourceVersion, { status: { conditions } });
    await world.bound('r');
  });

  test('for a template is bound when it appears', async () => {
    const { world } = suite;
    await world.runnerClass(runnerClass());
    await world.host(1);
    await world.controller();
    await world.runner('r');
    await world.saysOf('r', 'Template linux does not exist');
    expect(world.condition('r', 'Bound')?.reason).toBe('TemplateNotFound');
    await world.template(template());
    await world.bound('r');
  });

  test('for a class is bound when it appears', async () => {
    const { world } = suite;
    await world.template(template());
    await world.host(1);
    await world.controller();
    await world.runner('r');
    await world.saysOf('r', 'RunnerClass small does not exist');
    expect(world.condition('r', 'Bound')?.reason).toBe('ClassNotFound');
    await world.runnerClass(runnerClass());
    await world.bound('r');
  });

  test('for a default class is bound when there is one, by its size', async () => {
    const { world } = suite;
    await world.template(template());
    await world.host(1);
    await world.controller();
    await world.runner('r', { spec: { className: undefined } });
    await world.until('a reason', () => world.condition('r', 'Bound')?.reason === 'ClassNotFound');
    expect(world.condition('r', 'Bound')?.message).toContain('no className and no default class');
    await world.runnerClass(defaultRunnerClass({ metadata: { name: 'medium' }, spec: { cpu: 3 } }));
    await world.bound('r');
    expect(world.get('r')?.spec.binding?.resources.cpu).toBe(3);
  });

  test('for labels is bound when a host gets them', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(1);
    await world.controller();
    await world.runner('r', { spec: { hostSelector: { zone: 'a' } } });
    await world.saysOf('r', '1 host: 1 without the labels of hostSelector');
    await world.patchHost(host, { metadata: { labels: { zone: 'a' } } });
    await world.bound('r');
  });

  test('for a bundle with the pinned digest is bound when a host reports it', async () => {
    const { world } = suite;
    await withBasics(world);
    const other = {
      name: LINUX_BUNDLE.name,
      digest: `sha256:${'9'.repeat(64)}`,
      os: 'linux',
      arch: 'amd64',
    } as const;
    const host = await world.host(1, { status: { templates: [other] } });
    await world.controller();
    await world.runner('r');
    await world.saysOf('r', '1 host: 1 with a bundle linux that is not the one of template linux');
    const hosts = world.client.resources<Host>(LINUX_HOSTS);
    const templates = [{ ...other, digest: LINUX_BUNDLE.digest }];
    await hosts.patchStatus(host.metadata, host.metadata.resourceVersion, { status: { templates } });
    await world.bound('r');
  });

  test('lets a younger one that fits go first', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.runnerClass(runnerClass({ metadata: { name: 'huge' }, spec: { memory: '512Gi' } }));
    await world.host(1);
    await world.controller();
    await world.runner('huge', { spec: { className: 'huge' } });
    await world.saysOf('huge', '1 host: 1 too small for class huge');
    await world.runner('small');
    await world.bound('small');
  });
});

describe('what waiting costs', () => {
  test('a message is told at once, and rewritten half a minute later at the earliest', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const toldAt: number[] = [];
    const client = interfered(world.controllerClient, {
      before: ({ verb, name }) =>
        void (verb === 'patchStatus' && name === 'r' && toldAt.push(clock.monotonic())),
    });
    await world.controller({ client, clock, hostGraceMs: 1e9 });
    await world.runner('r');
    await world.saysOf('r', 'there are no hosts');
    const host = await world.host(1, { spec: { unschedulable: true } });
    const saysLater = async (message: string) =>
      await world.eventually(message, async () => {
        clock.skip(RETELL_AFTER_MS / 10);
        return world.condition('r', 'Bound')?.message === message || undefined;
      });
    await saysLater('1 host: 1 cordoned');
    await world.patchHost(host, { spec: { unschedulable: false, maxRunners: 0 } });
    // A new Runner is judged at once: by then the controller has seen the change, and says so of no other.
    await world.eventually('a Runner that is told of the change', async () => {
      const name = `new-${performance.now()}`.replace('.', '-');
      await world.runner(name);
      await world.until('a word on it', () => world.condition(name, 'Bound') !== undefined);
      return world.condition(name, 'Bound')?.message === '1 host: 1 full' || undefined;
    });
    expect(world.condition('r', 'Bound')?.message).toBe('1 host: 1 cordoned');
    await saysLater('1 host: 1 full');
    const gaps = toldAt.slice(1).map((at, index) => at - (toldAt[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(RETELL_AFTER_MS);
  });

  test('nothing is written while nothing changes, for ten minutes', async () => {
    const { world } = suite;
    await withBasics(world);
    const writes: Write[] = [];
    const client = interfered(world.controllerClient, { before: (write) => void writes.push(write) });
    const clock = new SkippingClock();
    await world.host(1);
    await world.controller({ client, clock, hostGraceMs: 1e9 });
    await world.runner('bound');
    await world.bound('bound');
    await world.runner('waiting');
    await world.runner('nameless', { spec: { templateName: 'nothing' } });
    await world.saysOf('waiting', '1 host: 1 full');
    await world.saysOf('nameless', 'Template nothing does not exist');
    const expected = [
      'create Event bound',
      'create Event nameless',
      'create Event waiting',
      'patch Runner bound',
      'patchStatus Runner nameless',
      'patchStatus Runner waiting',
      'patchStatus Template linux',
    ];
    // Events are named after what they regard, with a suffix, and come a moment later.
    const told = () =>
      writes.map(({ verb, kind, name }) => `${verb} ${kind} ${name.replace(/\..*/, '')}`).sort();
    await world.eventually('all writes', async () => told().length >= expected.length || undefined);
    expect(told()).toEqual(expected);
    for (let minute = 0; minute < 10; minute += 1) {
      clock.skip(60_000);
      // A round trip through everything: an event that reaches the controller, and what it does about it.
      await world.runner(`probe-${minute}`, { spec: { templateName: 'nothing' } });
      await world.saysOf(`probe-${minute}`, 'Template nothing does not exist');
    }
    const others = writes.slice(expected.length).filter(({ name }) => !name.startsWith('probe-'));
    expect(others).toEqual([]);
  });
});
