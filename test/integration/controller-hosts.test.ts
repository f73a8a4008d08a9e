import { describe, expect, test } from 'vitest';
import { RETELL_AFTER_MS } from '../../controller/runner/decide.ts';
import type { Host } from '../../crds/host.ts';
import { LINUX_HOSTS, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import { EVENTS } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';
import { defaultRunnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { uniqueName } from '../harness/control-plane.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import type { ControllerWorld } from './controller-world.ts';

const suite = controllerSuite();

describe('a host whose Lease is not renewed', () => {
  test('is Unknown, its Runners are HostLost, and nothing is bound to it until it is back', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const host = await world.host(2);
    await world.controller({ clock });
    await world.runner('r');
    await world.bound('r');
    await world.passGate('r');
    await untilLost(world, clock, host);
    await world.until('Runner r to be HostLost', () => world.condition('r', 'Ready')?.reason === 'HostLost');
    expect(world.condition('r', 'Ready')).toMatchObject({ status: 'Unknown' });
    expect(world.condition('r', 'Bound')).toMatchObject({ status: 'True' });
    await world.runner('next');
    await world.saysOf('next', '1 host: 1 not ready');
    await world.renewLease(host.metadata.name);
    const { conditions } = (await world.getHost(host))?.status ?? {};
    expect(conditions?.find(({ type }) => type === 'Ready')?.reason, 'its daemon says that it is back').toBe(
      'LeaseStale',
    );
    await report(world, host, host.status);
    await world.bound('next');
  });

  test('is not judged while it renews, however far the wall clocks are apart', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const host = await world.host(1);
    await world.controller({ clock });
    for (let turn = 0; turn < 10; turn += 1) {
      clock.skip(15_000);
      await world.renewLease(host.metadata.name);
      // What was renewed before is seen by then.
      await world.runner(`probe-${turn}`, { spec: { templateName: 'nothing' } });
      await world.saysOf(`probe-${turn}`, 'Template nothing does not exist');
    }
    expect(readyOf(await world.getHost(host))?.status).toBe('True');
  });
});

test('a Runner with its gate passed whose host object is gone, or was made anew, stays where it is', async () => {
  const { world } = suite;
  await withBasics(world);
  const host = await world.host(1);
  const clock = new SkippingClock();
  await world.controller({ clock, hostGraceMs: 1e9 });
  await world.runner('r');
  await world.bound('r');
  await world.passGate('r');
  await world.client.resources<Host>(LINUX_HOSTS).delete({ name: host.metadata.name });
  await world.until('Runner r to be HostLost', () => world.condition('r', 'Ready')?.reason === 'HostLost');
  await world.host(1, { metadata: { name: host.metadata.name } });
  await world.runner('next');
  await world.eventually('the slot to count as taken', async () => {
    clock.skip(RETELL_AFTER_MS);
    return world.condition('next', 'Bound')?.message === '1 host: 1 full' || undefined;
  });
  expect(world.get('r')?.spec.binding?.hostUID).toBe(host.metadata.uid);
});

describe('a Template', () => {
  test('counts the hosts that hold it, and says whether any does', async () => {
    const { world } = suite;
    await world.template(template());
    await world.controller();
    await statusOfTemplate(world, { hosts: 0, reason: 'NoHost' });
    const host = await world.host(1);
    await world.host(1);
    await world.host(1, { status: { templates: [] } });
    await statusOfTemplate(world, { hosts: 2, reason: 'Available' });
    await report(world, host, { ...host.status, observedGeneration: 1, templates: [] });
    await statusOfTemplate(world, { hosts: 1, reason: 'Available' });
  });
});

test('several default classes: the newest counts, and an Event on it says so once', async () => {
  const { world } = suite;
  await world.controller();
  const names = ['one', 'two'].map((name) => uniqueName(name));
  for (const name of names) await world.runnerClass(defaultRunnerClass({ metadata: { name } }));
  const events = world.client.resources(EVENTS);
  const warnings = async () => {
    const { items } = await events.list({ namespace: 'default' });
    return items.filter(
      ({ regarding, reason }) => names.includes(regarding.name) && reason === 'SeveralDefaultClasses',
    );
  };
  const found = await world.eventually('the warning', async () => {
    const items = await warnings();
    return items.length > 0 ? items : undefined;
  });
  expect(found).toHaveLength(1);
  expect(found[0]).toMatchObject({ type: 'Warning', regarding: { kind: 'RunnerClass' } });
});

test('metrics count hosts, Runners and the parts of a start, and name no object', async () => {
  const { world } = suite;
  await withBasics(world);
  await world.host(3);
  await world.host(4, { spec: { unschedulable: true } });
  await world.host(5, { status: { conditions: [] } });
  const controller = await world.controller({ http: { port: 0 } });
  for (const name of ['a', 'b']) await world.runner(name);
  await world.bound('a', 'b');
  await setTimings(world, 'a', { cloneMs: 40, bootToSshMs: 2_400, totalMs: 3_000 });
  await setTimings(world, 'a', { cloneMs: 40, bootToSshMs: 2_400, totalMs: 3_000, setupMs: 900 });
  const text = await world.eventually('the parts of the start', async () => {
    const body = await get(controller.httpPort, '/metrics');
    return body.includes('shoesvz_runner_startup_duration_count{part="setup"} 1') ? body : undefined;
  });
  const lines = text.split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'shoesvz_agents_online 2',
      'shoesvz_agents_total{status="Ready"} 1',
      'shoesvz_agents_total{status="Cordoned"} 1',
      'shoesvz_agents_total{status="NotReady"} 0',
      'shoesvz_agents_total{status="Unknown"} 1',
      'shoesvz_capacity_total_runners 7',
      'shoesvz_runners_total{phase="Pending"} 1',
      'shoesvz_runners_total{phase="Running"} 1',
      'shoesvz_runner_startup_duration_count{part="clone"} 1',
      'shoesvz_runner_startup_duration_sum{part="boot_to_ssh"} 2.4',
      'shoesvz_runner_startup_duration_sum{part="total"} 3',
      'shoesvz_runner_bind_duration_seconds_count 2',
    ]),
  );
  expect(text).not.toContain(world.namespace);
  expect(await get(controller.httpPort, '/healthz')).toBe('ok\n');
  expect(await get(controller.httpPort, '/readyz')).toBe('ok\n');
});

const readyOf = (host: Stored<Host> | undefined) =>
  host?.status?.conditions?.find(({ type }) => type === 'Ready');

/** Puts the clock forward until the controller has judged the host. */
async function untilLost(world: ControllerWorld, clock: SkippingClock, host: Stored<Host>): Promise<void> {
  await world.eventually('the host to be Unknown', async () => {
    clock.skip(5_000);
    const ready = readyOf(await world.getHost(host));
    return ready?.status === 'Unknown' && ready.reason === 'LeaseStale' ? ready : undefined;
  });
}

async function report(world: ControllerWorld, host: Stored<Host>, status: Host['status']): Promise<void> {
  const current = await world.getHost(host);
  if (current === undefined) throw new Error('the host is gone');
  const hosts = world.client.resources<Host>(LINUX_HOSTS);
  await hosts.patchStatus(current.metadata, current.metadata.resourceVersion, { status: status ?? {} });
}

async function statusOfTemplate(
  world: ControllerWorld,
  wanted: { hosts: number; reason: string },
): Promise<void> {
  await world.eventually(`the Template to show ${JSON.stringify(wanted)}`, async () => {
    const { status, metadata } =
      (await world.client.resources<Template>(TEMPLATES).get({ name: 'linux' })) ?? {};
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    const isSo = status?.hosts === wanted.hosts && ready?.reason === wanted.reason;
    return isSo && status.observedGeneration === metadata?.generation ? ready : undefined;
  });
}

async function setTimings(
  world: ControllerWorld,
  name: string,
  timings: NonNullable<Runner['status']>['timings'],
): Promise<void> {
  const runners = world.client.resources<Runner>(RUNNERS);
  const ref = { namespace: world.namespace, name };
  const current = await runners.get(ref);
  const status = { phase: 'Running', timings };
  await runners.patchStatus(ref, current?.metadata.resourceVersion ?? '', { status });
}

async function get(port: number | undefined, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return await response.text();
}
