import { describe, expect, test } from 'vitest';
import { RUNNERS } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import { interfered, type Write } from './controller-client.ts';
import { SkippingClock } from './controller-clock.ts';
import { controllerSuite, withBasics } from './controller-suite.ts';
import type { ControllerWorld } from './controller-world.ts';

const suite = controllerSuite();
const HOUR_S = 3_600;

/** A Runner that ran on the host, and is over. */
async function over(world: ControllerWorld, name: string, ttl: number | undefined): Promise<void> {
  await world.runner(name, { spec: { ttlSecondsAfterFinished: ttl } });
  await world.bound(name);
  await world.finish(name);
  await world.until(`${name} to be over`, () =>
    [undefined, 'Finished'].includes(world.get(name)?.status?.phase),
  );
}

const gone = (world: ControllerWorld, name: string): Promise<void> =>
  world.until(`${name} to be gone`, () => world.get(name) === undefined);

/** Everything that came before has been seen: what comes last is acted upon. */
async function settled(world: ControllerWorld, name: string): Promise<void> {
  await over(world, name, 0);
  await gone(world, name);
}

describe('ttlSecondsAfterFinished', () => {
  test('delete what is over when they have passed, 0 at once, and nothing else', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(10);
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await world.runner('alive', { spec: { ttlSecondsAfterFinished: 0 } });
    await world.bound('alive');
    await over(world, 'kept', undefined);
    await over(world, 'later', HOUR_S);
    await over(world, 'at-once', 0);
    await gone(world, 'at-once');
    clock.skip((HOUR_S - 60) * 1_000);
    await settled(world, 'probe');
    expect(world.get('later')).toBeDefined();
    clock.skip(60_000);
    await gone(world, 'later');
    expect(world.get('kept')).toBeDefined();
    expect(world.get('alive')).toBeDefined();
  });

  test('count through a restart of the controller, and for one that had ended while none ran', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(10);
    const first = await world.controller();
    await over(world, 'seen', HOUR_S);
    await world.runner('unseen', { spec: { ttlSecondsAfterFinished: HOUR_S } });
    await world.bound('unseen');
    await first.stop();
    await world.finish('unseen');
    const clock = new SkippingClock();
    clock.skip((HOUR_S - 600) * 1_000);
    const second = await world.controller({ clock, hostGraceMs: 1e9 });
    await settled(world, 'probe');
    expect(world.get('seen')).toBeDefined();
    expect(world.get('unseen')).toBeDefined();
    clock.skip(600_000);
    await gone(world, 'seen');
    await gone(world, 'unseen');
    await second.stop();
  });

  test('of a Runner that waited in vain count, too', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.controller();
    await world.runner('r', { spec: { activeDeadlineSeconds: 1, ttlSecondsAfterFinished: 1 } });
    await world.until('the end', () => world.get('r')?.status?.phase === 'Error');
    await gone(world, 'r');
  });

  test('may be lowered, raised and removed', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(10);
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    for (const name of ['lowered', 'raised', 'removed']) await over(world, name, HOUR_S);
    await world.patchRunner('raised', { spec: { ttlSecondsAfterFinished: 10 * HOUR_S } });
    await world.patchRunner('removed', { spec: { ttlSecondsAfterFinished: null } });
    await world.patchRunner('lowered', { spec: { ttlSecondsAfterFinished: 0 } });
    await gone(world, 'lowered');
    clock.skip(2 * HOUR_S * 1_000);
    await settled(world, 'probe');
    expect(world.get('raised')).toBeDefined();
    expect(world.get('removed')).toBeDefined();
  });

  test('that are raised while the Runner is being deleted save it', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(10);
    const deletes: string[] = [];
    const client: KubeClient = interfered(world.controllerClient, {
      before: async ({ verb, name }: Write) => {
        if (verb !== 'delete') return;
        deletes.push(name);
        if (name === 'saved') await world.patchRunner(name, { spec: { ttlSecondsAfterFinished: HOUR_S } });
      },
    });
    await world.controller({ client });
    await over(world, 'saved', 0);
    await world.eventually('a try', async () => deletes.includes('saved') || undefined);
    await settled(world, 'probe');
    expect(world.get('saved')?.metadata).not.toHaveProperty('deletionTimestamp');
    const tries = deletes.filter((name) => name === 'saved').length;
    await settled(world, 'later');
    expect(deletes.filter((name) => name === 'saved')).toHaveLength(tries);
  });

  test('of a Runner of the same name that was made anew begin anew', async () => {
    const { world } = suite;
    await withBasics(world);
    await world.host(10);
    const clock = new SkippingClock();
    await world.controller({ clock, hostGraceMs: 1e9 });
    await over(world, 'r', HOUR_S);
    const former = world.get('r');
    await world.client.resources(RUNNERS).delete({ namespace: world.namespace, name: 'r' });
    await gone(world, 'r');
    clock.skip((HOUR_S - 60) * 1_000);
    await over(world, 'r', HOUR_S);
    clock.skip(600_000);
    await settled(world, 'probe');
    expect(world.get('r')?.metadata.uid).not.toBe(former?.metadata.uid);
    clock.skip(HOUR_S * 1_000);
    await gone(world, 'r');
  });
});
