import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { VmError } from '../vm/driver.ts';
import { unreachable } from './testing/fake-client.ts';
import { World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

describe('a launch', () => {
  test('waits for an API server that does not answer', async () => {
    world.client.fail('template', unreachable(), { times: 3 });
    await world.start();
    world.bound('r');
    await world.untilReady('r');
  });

  test('waits for the template to be verified, which takes a while after a start', async () => {
    const { templates } = world.host;
    world.hostChanged({ templates: new Map() });
    await world.start();
    world.bound('r');
    await world.pass(60_000);
    expect(world.status('r')?.phase).toBe('Creating');
    world.hostChanged({ templates });
    await world.untilReady('r');
  });

  test('fails where the template does not come within timeouts.clone', async () => {
    world.hostChanged({ templates: new Map() });
    await world.start();
    world.bound('r');
    const { status } = await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')).toMatchObject({
      reason: 'CloneFailed',
      message: expect.stringContaining('this host does not hold the bundle debian'),
    });
    expect(status?.finishedAt).toBe(new Date(world.clock.now()).toISOString());
    await world.untilClean();
  });

  test('of a Template that is gone fails at once', async () => {
    world.client.templates.clear();
    await world.start();
    world.bound('r');
    await world.settle();
    expect(world.condition('r', 'Stalled')).toMatchObject({
      reason: 'CloneFailed',
      message: 'there is no Template debian',
    });
    world.runners.delete('r');
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.expectNoLeak();
  });

  test('that takes longer than timeouts.clone is over, and says so', async () => {
    world.machine.hang('prepare');
    for (const call of ['runtime.prepare', 'driver.prepare']) world.hanging.add(call);
    await world.start();
    world.bound('r', { timeouts: { clone: '10s' } });
    await world.pass(10_000);
    expect(world.condition('r', 'Stalled')).toMatchObject({
      reason: 'CloneTimeout',
      message: 'the template was not cloned within 10 s (timeouts.clone)',
    });
    await world.untilClean();
  });

  test('whose process ends at once is an error that says why', async () => {
    world.machine.fail('spawn', new VmError('StartFailed', 'no such program'));
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')).toMatchObject({
      reason: 'StartFailed',
      message: expect.stringContaining('no such program'),
    });
    await world.untilClean();
    await world.expectNoLeak();
  });

  test('that fails with a long story tells the beginning of it', async () => {
    world.machine.fail('prepare', new VmError('CloneFailed', `qemu-img: ${'failed '.repeat(1_000)}`));
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    for (const { message } of world.status('r')?.conditions ?? []) {
      expect(message.length).toBeLessThanOrEqual(1024);
    }
    expect(world.condition('r', 'Stalled')?.message).toMatch(/^qemu-img: failed .*…$/);
  });

  test.each([
    'api.template',
    'bundles.create',
    'runtime.prepare',
    'secrets.make',
    'secrets.writeSeed',
    'secrets.token',
    'api.get',
    'runtime.start',
  ])('that is called off at %s leaves nothing', async (call) => {
    const goOn = world.holdBack(call);
    await world.start();
    world.bound('r');
    await world.pass(1_000);
    world.runners.delete('r');
    await world.settle();
    goOn();
    await world.until('the Runner to be gone', () => world.get('r') === undefined);
    await world.untilClean();
    await world.expectNoLeak();
  });
});
