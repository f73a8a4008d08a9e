import { describe, expect, test } from 'vitest';
import { HOST_FINALIZER, type Host } from '../../crds/host.ts';
import { finalizerName, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { EVENTS } from '../../kube/events.ts';
import { LEASES } from '../../kube/lease.ts';
import type { Stored } from '../../kube/object.ts';
import { interfered } from './controller-client.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import type { ControllerWorld } from './controller-world.ts';

const suite = controllerSuite();

/** A host as its node daemon registers it. */
const registered = (world: ControllerWorld, runners: number): Promise<Stored<Host>> =>
  world.host(runners, { metadata: { finalizers: [HOST_FINALIZER] } });

const nameOf = ({ metadata }: Stored<Host>): string => metadata.name;

/** Puts the clock forward, a little at a time, while these hosts renew their Leases, until something is so. */
async function untilLater(
  world: ControllerWorld,
  clock: SkippingClock,
  living: readonly Stored<Host>[],
  what: string,
  isSo: () => boolean | Promise<boolean>,
): Promise<void> {
  await world.eventually(what, async () => {
    clock.skip(5_000);
    for (const host of living) await world.renewLease(nameOf(host));
    return (await isSo()) || undefined;
  });
}

const isUnknown = async (world: ControllerWorld, host: Stored<Host>): Promise<boolean> => {
  const { conditions = [] } = (await world.getHost(host))?.status ?? {};
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'Unknown');
};

/** A Runner that is bound to a host of its own, and a second host that comes later. */
async function boundToOne(name = 'r') {
  const { world } = suite;
  await withBasics(world);
  const clock = new SkippingClock();
  const lost = await registered(world, 1);
  const controller = await world.controller({ clock });
  await world.runner(name);
  await world.attempt(name, 1);
  return { world, clock, lost, controller };
}

describe('a Runner whose host is lost', () => {
  test('is bound elsewhere where its script has not begun, and held by both until the first is back', async () => {
    const { world, clock, lost } = await boundToOne();
    const other = await registered(world, 1);
    await untilLater(world, clock, [other], 'attempt 2', () => world.get('r')?.spec.binding?.attempt === 2);
    const { metadata, spec } = world.get('r') ?? {};
    expect(spec?.binding).toMatchObject({
      hostName: nameOf(other),
      earlier: [{ hostName: nameOf(lost), attempt: 1 }],
    });
    expect(metadata?.finalizers).toEqual([finalizerName(nameOf(lost), 1), finalizerName(nameOf(other), 2)]);
    await world.renewLease(nameOf(lost));
    await world.runner('next');
    const says = () => world.condition('next', 'Bound')?.message ?? '';
    await world.until('the slots to count as taken', () => /1 full/.test(says()), says);
    await world.letGo('r', finalizerName(nameOf(lost), 1));
    expect(world.get('r')?.spec.binding?.hostName).toBe(nameOf(other));
  });

  test('says that it is bound anew as soon as a host fits, and is', async () => {
    const { world, clock } = await boundToOne();
    const says = () => world.condition('r', 'Ready')?.message ?? '';
    await untilLater(world, clock, [], 'HostLost', () =>
      says().includes('bound anew as soon as another host fits'),
    );
    expect(says()).toContain('(1 host: 1 not ready)');
    const other = await registered(world, 1);
    await world.attempt('r', 2);
    expect(world.get('r')?.spec.binding?.hostName).toBe(nameOf(other));
  });

  test('is told of the lost host that keeps it when it is deleted after it was bound elsewhere', async () => {
    const { world, clock, lost } = await boundToOne();
    const other = await registered(world, 1);
    await untilLater(world, clock, [other], 'attempt 2', () => world.get('r')?.spec.binding?.attempt === 2);
    await world.eventually('an Event that says why', async () => {
      const { items } = await world.client.resources(EVENTS).list({ namespace: world.namespace });
      return items.find(({ reason, note }) => reason === 'HostLost' && note.includes(nameOf(lost)));
    });
    await world.client.resources<Runner>(RUNNERS).delete({ namespace: world.namespace, name: 'r' });
    await world.letGo('r', finalizerName(nameOf(other), 2));
    const says = () => world.condition('r', 'Ready')?.message ?? '';
    await world.until('HostLost', () => says().includes(`kubectl delete linuxhost ${nameOf(lost)}`), says);
  });

  test('is over when its deadline has passed and that host was deleted, though nothing was told in between', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const lost = await registered(world, 1);
    await world.controller({ clock });
    await world.runner('r', { spec: { activeDeadlineSeconds: 3_600 } });
    await world.attempt('r', 1);
    await untilLater(world, clock, [], 'the host to be Unknown', () => isUnknown(world, lost));
    await world.client.resources<Host>(LINUX_HOSTS).delete({ name: nameOf(lost) });
    await world.until('nothing to hold it', () => (world.get('r')?.metadata.finalizers ?? []).length === 0);
    expect(world.get('r')?.status?.phase).not.toBe('Error');
    clock.skip(3_600_000);
    await world.until('Error', () => world.get('r')?.status?.phase === 'Error');
    expect(world.condition('r', 'Stalled')).toMatchObject({ reason: 'DeadlineExceeded' });
  });

  test('stays there once the script was permitted to run, says how to declare the host dead', async () => {
    const { world, clock, lost } = await boundToOne();
    const other = await registered(world, 3);
    await world.passGate('r');
    const says = () => world.condition('r', 'Ready')?.message ?? '';
    await untilLater(world, clock, [other], 'HostLost', () =>
      says().includes(`kubectl delete linuxhost ${nameOf(lost)}`),
    );
    await world.runner('probe');
    await world.bound('probe');
    expect(world.get('r')?.spec.binding).toMatchObject({ hostName: nameOf(lost), attempt: 1 });
  });

  test('stays there where the gate was passed at the very moment at which it was to be bound elsewhere', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const lost = await registered(world, 1);
    let contended = 0;
    const client = interfered(world.controllerClient, {
      before: async ({ verb, kind, name }) => {
        if (verb !== 'patch' || kind !== 'Runner' || name !== 'r') return;
        if (world.get('r')?.spec.binding === undefined || contended++ > 0) return;
        await world.passGate('r');
      },
    });
    await world.controller({ clock, client });
    await world.runner('r');
    await world.attempt('r', 1);
    const other = await registered(world, 3);
    const isLost = () => world.condition('r', 'Ready')?.reason === 'HostLost';
    await untilLater(world, clock, [other], 'HostLost', isLost);
    expect(contended).toBe(1);
    expect(world.get('r')?.spec.binding).toMatchObject({ hostName: nameOf(lost), attempt: 1 });
    expect(world.get('r')?.metadata.finalizers).toEqual([finalizerName(nameOf(lost), 1)]);
  });
});

describe('a host that is deleted', () => {
  const remove = (world: ControllerWorld, host: Stored<Host>) =>
    world.client.resources<Host>(LINUX_HOSTS).delete({ name: nameOf(host) });

  test('and is lost goes, with all that it held; its Runners end, or are bound anew', async () => {
    const { world } = suite;
    await withBasics(world);
    const clock = new SkippingClock();
    const lost = await registered(world, 3);
    await world.controller({ clock });
    for (const name of ['ran', 'booted', 'dying']) await world.runner(name);
    for (const name of ['ran', 'booted', 'dying']) await world.attempt(name, 1);
    await world.passGate('ran');
    await world.client.resources<Runner>(RUNNERS).delete({ namespace: world.namespace, name: 'dying' });
    await untilLater(world, clock, [], 'the host to be Unknown', () => isUnknown(world, lost));
    expect(world.get('dying')?.metadata.finalizers).toHaveLength(1);
    await remove(world, lost);
    await world.eventually(
      'the host to go',
      async () => (await world.getHost(lost)) === undefined || undefined,
    );
    await world.until('the Runner to end', () => world.get('ran')?.status?.phase === 'Error');
    expect(world.condition('ran', 'Stalled')).toMatchObject({ status: 'True', reason: 'HostDeleted' });
    expect(world.get('ran')?.status?.finishedAt).toBeDefined();
    expect(world.get('ran')?.metadata.finalizers ?? []).toEqual([]);
    await world.until('the dying one to be gone', () => world.get('dying') === undefined);
    expect(
      await world.client.resources(LEASES).get({ namespace: SYSTEM_NAMESPACE, name: nameOf(lost) }),
    ).toBeUndefined();
    const other = await registered(world, 3);
    await world.attempt('booted', 2);
    expect(world.get('booted')?.metadata.finalizers).toEqual([finalizerName(nameOf(other), 2)]);
  });

  test('and is lost goes when the last that it held was a Runner that had long been bound elsewhere', async () => {
    const { world, clock, lost } = await boundToOne();
    const other = await registered(world, 1);
    await untilLater(world, clock, [other], 'attempt 2', () => world.get('r')?.spec.binding?.attempt === 2);
    await world.client.resources<Runner>(RUNNERS).delete({ namespace: world.namespace, name: 'r' });
    await world.letGo('r', finalizerName(nameOf(other), 2));
    await remove(world, lost);
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    const isGone = async () => (await world.getHost(lost)) === undefined;
    await world.eventually('the host to go', async () => (await isGone()) || undefined);
  });

  test('and renews its Lease is left to its own node daemon', async () => {
    const { world, clock, lost: host } = await boundToOne();
    await world.passGate('r');
    await remove(world, host);
    for (let turn = 0; turn < 12; turn += 1) {
      clock.skip(5_000);
      await world.renewLease(nameOf(host));
      await world.runner(`probe-${turn}`, { spec: { templateName: 'nothing' } });
      await world.saysOf(`probe-${turn}`, 'Template nothing does not exist');
    }
    expect(world.get('r')?.metadata.finalizers).toEqual([finalizerName(nameOf(host), 1)]);
    expect((await world.getHost(host))?.metadata.finalizers).toEqual([HOST_FINALIZER]);
  });

  test('without a trace left of its object is declared dead all the same, by a controller that starts later', async () => {
    const { world, lost, controller } = await boundToOne();
    await world.passGate('r');
    await controller.stop();
    await world.patchHost(lost, { metadata: { finalizers: [] } });
    await remove(world, lost);
    const clock = new SkippingClock();
    await world.controller({ clock });
    await untilLater(world, clock, [], 'the end', () => world.get('r')?.status?.phase === 'Error');
    expect(world.get('r')?.metadata.finalizers ?? []).toEqual([]);
  });

  test('and made anew on another machine takes its Runner, once nothing is held in the old name', async () => {
    const { world, lost } = await boundToOne();
    await world.patchHost(lost, { metadata: { finalizers: [] } });
    await remove(world, lost);
    const anew = await world.host(1, { metadata: { name: nameOf(lost) } });
    const says = () => world.condition('r', 'Ready')?.message ?? '';
    await world.until('it to wait', () => says().includes('is bound anew as soon as'), says);
    await world.runner('next');
    await world.saysOf('next', '1 host: 1 full');
    expect(world.get('r')?.spec.binding?.attempt).toBe(1);
    await world.client.resources<Runner>(RUNNERS).delete({ namespace: world.namespace, name: 'next' });
    await world.letGo('r', finalizerName(nameOf(lost), 1));
    await world.attempt('r', 2);
    expect(world.get('r')?.spec.binding?.hostUID).toBe(anew.metadata.uid);
  });
});
