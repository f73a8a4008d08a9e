import { describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';

const suite = controllerSuite();

describe('a Runner of which a start has failed', () => {
  test('is bound anew to another host, while the first still holds its finalizer', async () => {
    const { world } = suite;
    await withBasics(world);
    const hosts = [await world.host(3), await world.host(3)].map(({ metadata }) => metadata.name);
    await world.controller();
    await world.runner('r');
    const first = await world.attempt('r', 1);
    const { resources, templateDigest } = world.get('r')?.spec.binding ?? {};
    await world.tellFailure('r');
    const second = await world.attempt('r', 2);
    expect(new Set([first, second])).toEqual(new Set(hosts));
    expect(world.get('r')?.metadata.finalizers).toEqual([finalizerName(first, 1), finalizerName(second, 2)]);
    expect(world.get('r')?.spec.binding?.earlier).toEqual([
      { hostName: first, attempt: 1, resources, templateDigest },
    ]);
    await world.letGo('r', finalizerName(first, 1));
    await world.failStart('r');
    await world.attempt('r', 3);
    expect(world.get('r')?.spec.binding?.earlier).toBeUndefined();
  });

  test('is bound to the same host where there is no other, after a while', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(3);
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await world.runner('r');
    await world.attempt('r', 1);
    await world.failStart('r');
    clock.skip(1_000);
    expect(await world.attempt('r', 2)).toBe(host.metadata.name);
    await world.failStart('r');
    await world.runner('probe', { spec: { templateName: 'nothing' } });
    await world.saysOf('probe', 'Template nothing does not exist');
    expect(world.get('r')?.spec.binding?.attempt, 'it rests for two seconds').toBe(2);
    clock.skip(2_000);
    await world.attempt('r', 3);
  });

  test('says what keeps it waiting, and what has failed', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(1);
    await world.controller();
    await world.runner('r');
    await world.attempt('r', 1);
    await world.patchHost(host, { spec: { unschedulable: true } });
    await world.failStart('r', 'BootTimeout');
    await world.saysOf(
      'r',
      `1 host: 1 cordoned; 1 of 3 starts have failed, the last on host ${host.metadata.name}: BootTimeout: no`,
    );
    expect(world.condition('r', 'Ready')).toMatchObject({ status: 'Unknown', reason: 'NotBound' });
    await world.patchHost(host, { spec: { unschedulable: false } });
    await world.attempt('r', 2);
  });

  test('keeps the slot of that start until its finalizer is gone', async () => {
    const { world } = suite;
    await withBasics(world);
    const [first, second] = [await world.host(1), await world.host(0)];
    await world.controller();
    await world.runner('r');
    await world.attempt('r', 1);
    await world.runner('next');
    await world.saysOf('next', '2 hosts: 2 full');
    await world.tellFailure('r');
    await world.saysOf(
      'r',
      `2 hosts: 2 full; 1 of 3 starts have failed, the last on host ${first.metadata.name}: CloneFailed: no`,
    );
    expect(world.get('next')?.spec.binding).toBeUndefined();
    await world.letGo('r', finalizerName(first.metadata.name, 1));
    const bound = () => ['r', 'next'].filter((name) => world.get(name)?.spec.binding?.attempt !== undefined);
    await world.until('the next to be bound', () => bound().includes('next'));
    expect(world.get('next')?.spec.binding?.hostName).not.toBe(second.metadata.name);
  });
});
