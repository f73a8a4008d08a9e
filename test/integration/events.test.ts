import { describe, expect, test } from 'vitest';
import { REFUSED_RETRY_MS } from '../../controller/runner/bind-loop.ts';
import { RETELL_AFTER_MS } from '../../controller/runner/decide.ts';
import { TEMPLATES } from '../../crds/resources.ts';
import type { Template } from '../../crds/template.ts';
import { EVENTS, type KubeEvent } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { interfered, mayBind, type Write } from './controller-client.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import type { ControllerWorld } from './controller-world.ts';

const suite = controllerSuite();

/** What the Events about a Runner say, in the order in which they came. */
async function eventsOf(world: ControllerWorld, name: string): Promise<Stored<KubeEvent>[]> {
  const uid = world.get(name)?.metadata.uid;
  const fieldSelector = `regarding.kind=Runner,regarding.uid=${uid}`;
  const { items } = await world.client.resources(EVENTS).list({ namespace: world.namespace, fieldSelector });
  return items.sort((a, b) => (a.eventTime < b.eventTime ? -1 : 1));
}

const textOf = ({ type, reason, note }: KubeEvent): string => `${type} ${reason}: ${note}`;

/** Waits until so many Events about the Runner are there, and returns what they say. */
async function told(world: ControllerWorld, name: string, count: number): Promise<string[]> {
  const events = await world.eventually(`${count} Events about ${name}`, async () => {
    const found = await eventsOf(world, name);
    return found.length >= count ? found : undefined;
  });
  return events.map(textOf);
}

describe('an Event tells', () => {
  test('that a Runner was bound, to which host and in which attempt, once', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(1);
    await world.controller();
    await world.runner('r');
    const says = `bound to host ${host.metadata.name}, attempt 1`;
    expect(await told(world, 'r', 1)).toEqual([`Normal Bound: ${says}`]);
    const [event] = await eventsOf(world, 'r');
    expect(event).toMatchObject({
      action: 'Bound',
      reportingController: 'shoesvz.dev/controller',
      regarding: {
        apiVersion: 'shoesvz.dev/v1alpha1',
        kind: 'Runner',
        namespace: world.namespace,
        name: 'r',
      },
    });
    expect(event?.series).toBeUndefined();
  });

  test('each new reason why a Runner is not bound, half a minute apart at the least, and then that it is', async () => {
    const { world } = suite;
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    const began = clock.now();
    await world.runner('r');
    const [first] = await told(world, 'r', 1);
    expect(first).toBe('Warning TemplateNotFound: Template linux does not exist');

    await world.template(template());
    await world.runnerClass(runnerClass());
    const reason = (wanted: string) =>
      world.eventually(wanted, async () => {
        clock.skip(RETELL_AFTER_MS / 10);
        return world.condition('r', 'Bound')?.reason === wanted || undefined;
      });
    await reason('NoHostFits');
    expect(clock.now() - began).toBeGreaterThanOrEqual(RETELL_AFTER_MS);
    const host = await world.host(1);
    await world.bound('r');
    expect(await told(world, 'r', 3)).toEqual([
      first,
      'Warning NoHostFits: there are no hosts',
      `Normal Bound: bound to host ${host.metadata.name}, attempt 1`,
    ]);
  });

  test('nothing of counts that change while the reason stays', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await world.runner('r');
    await world.saysOf('r', 'there are no hosts');
    await world.host(0);
    await world.eventually('new counts', async () => {
      clock.skip(RETELL_AFTER_MS / 10);
      return world.condition('r', 'Bound')?.message === '1 host: 1 full' || undefined;
    });
    // An Event about a later Runner shows that what was recorded before it has been written.
    await world.runner('later');
    await told(world, 'later', 1);
    expect(await told(world, 'r', 1)).toEqual(['Warning NoHostFits: there are no hosts']);
  });

  test('a reason that comes back as a series of the first Event', async () => {
    const { world } = suite;
    await world.runnerClass(runnerClass());
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await world.runner('r');
    await told(world, 'r', 1);
    const becomes = (reason: string) =>
      world.eventually(reason, async () => {
        clock.skip(RETELL_AFTER_MS / 10);
        return world.condition('r', 'Bound')?.reason === reason || undefined;
      });
    const made = await world.template(template());
    await becomes('NoHostFits');
    await world.client.resources<Template>(TEMPLATES).delete(made.metadata);
    await becomes('TemplateNotFound');
    const series = await world.eventually('a series', async () => {
      clock.skip(RETELL_AFTER_MS / 10);
      const events = await eventsOf(world, 'r');
      expect(events.length).toBeLessThanOrEqual(2);
      return events.find(({ reason }) => reason === 'TemplateNotFound')?.series;
    });
    expect(series.count).toBe(2);
  });

  test('what the API server refused, once while it goes on refusing', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(1);
    await world.runner('r');
    const ref = { namespace: world.namespace, name: 'r' };
    await mayBind(world.client, world.controllerClient, ref, false);
    const clock = new SkippingClock();
    let tries = 0;
    const count = ({ verb, kind }: Write): void => {
      if (verb === 'patch' && kind === 'Runner') tries += 1;
    };
    const client = interfered(world.controllerClient, { before: count });
    await world.controller({ client, clock, hostGraceMs: 1e9 });
    const [refusal] = await told(world, 'r', 1);
    expect(refusal).toMatch(/^Warning BindingRefused: .*cannot patch resource "runners"/);
    await world.eventually('another try', async () => {
      if (tries === 1) clock.skip(REFUSED_RETRY_MS);
      return tries > 1 || undefined;
    });
    await mayBind(world.client, world.controllerClient, ref, true);
    await world.eventually('the binding', async () => {
      clock.skip(REFUSED_RETRY_MS / 10);
      return world.get('r')?.spec.binding;
    });
    expect(await told(world, 'r', 2)).toEqual([refusal, expect.stringMatching(/^Normal Bound: /)]);
  });
});

test('a controller that starts anew repeats nothing that was told', async () => {
  const { world } = suite;
  await withBasics(world);
  const first = await world.controller();
  await world.runner('waiting');
  expect(await told(world, 'waiting', 1)).toEqual(['Warning NoHostFits: there are no hosts']);
  await first.stop();
  await world.controller();
  await world.runner('later');
  await told(world, 'later', 1);
  expect(await told(world, 'waiting', 1)).toEqual(['Warning NoHostFits: there are no hosts']);
});
