import { describe, expect, test } from 'vitest';
import { controllerSuite, withBasics } from './controller-suite.ts';

const suite = controllerSuite();

describe('activeDeadlineSeconds of a Runner that waits', () => {
  test('end it when they pass, with what it waited for, and it is never bound', async () => {
    const { world } = suite;
    await withBasics(world);
    const host = await world.host(1, { spec: { unschedulable: true } });
    await world.controller();
    await world.runner('r', { spec: { activeDeadlineSeconds: 2 } });
    await world.until('the end', () => world.get('r')?.status?.phase === 'Error');
    const message =
      'it still waited for a host 2 s after its creation (activeDeadlineSeconds): 1 host: 1 cordoned';
    for (const type of ['Stalled', 'Finished']) {
      expect(world.condition('r', type)).toMatchObject({
        status: 'True',
        reason: 'DeadlineExceeded',
        message,
      });
    }
    expect(world.condition('r', 'Bound')).toMatchObject({ status: 'False', reason: 'DeadlineExceeded' });
    expect(world.condition('r', 'Ready')).toBeUndefined();
    const { metadata, status } = world.get('r') ?? {};
    expect(status?.observedGeneration).toBe(metadata?.generation);
    const livedMs = Date.parse(status?.finishedAt ?? '') - Date.parse(metadata?.creationTimestamp ?? '');
    expect(livedMs).toBeGreaterThanOrEqual(2_000);
    await world.patchHost(host, { spec: { unschedulable: false } });
    await world.runner('next');
    await world.bound('next');
    expect(world.get('r')?.spec.binding).toBeUndefined();
  });

  test('that passed while no controller ran end it, though there is room now', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.runner('r', { spec: { activeDeadlineSeconds: 1 } });
    const created = Date.parse(world.get('r')?.metadata.creationTimestamp ?? new Date().toISOString());
    await world.eventually('the deadline', async () => Date.now() > created + 2_000 || undefined);
    await world.host(1);
    await world.controller();
    await world.until('the end', () => world.get('r')?.status?.phase === 'Error');
    expect(world.boundOrder).toEqual([]);
  });

  test('that are lowered end it at once; raised or removed they let it wait on', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.controller();
    for (const name of ['lowered', 'raised', 'removed']) {
      await world.runner(name, { spec: { activeDeadlineSeconds: name === 'lowered' ? 3_600 : 3 } });
      await world.saysOf(name, 'there are no hosts');
    }
    await world.patchRunner('raised', { spec: { activeDeadlineSeconds: 3_600 } });
    await world.patchRunner('removed', { spec: { activeDeadlineSeconds: null } });
    await world.patchRunner('lowered', { spec: { activeDeadlineSeconds: 1 } });
    await world.until('the end', () => world.get('lowered')?.status?.phase === 'Error');
    // One that was made later with as much time as they had is over: so would they be.
    await world.runner('last', { spec: { activeDeadlineSeconds: 3 } });
    await world.until('the end', () => world.get('last')?.status?.phase === 'Error');
    await world.host(2);
    await world.bound('raised', 'removed');
  });
});
