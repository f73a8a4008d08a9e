import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import { DIGEST, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

const room = (runners: number): void => {
  world.host.allocatable = { ...world.host.allocatable, runners };
};
const attempts = (name: string): NonNullable<Runner['status']>['attempts'] => world.status(name)?.attempts;
const isBack = (name: string): boolean =>
  attempts(name)?.at(-1)?.reason === 'OutOfCapacity' && world.get(name)?.metadata.finalizers?.length === 0;
const back = (name: string): Promise<void> => world.until(`${name} to go back`, () => isBack(name));

describe('a host that is bound more than it takes', () => {
  test('gives back what does not fit, before anything of it was made, and that costs nothing', async () => {
    room(1);
    await world.start();
    world.bound('first');
    await world.untilReady('first');
    world.bound('second', { startAttempts: 1 });
    await back('second');
    expect(world.status('second')).toMatchObject({ phase: 'Pending', attempt: 1 });
    expect(world.condition('second', 'Bound')).toMatchObject({
      status: 'False',
      reason: 'AttemptFailed',
      message:
        '0 of 1 starts have failed; attempt 1 on host host-a: OutOfCapacity: the host takes 1 Runners at once, and has 1',
    });
    expect(world.condition('second', 'Stalled')).toBeUndefined();
    expect(world.machine.calls.filter(({ verb }) => verb === 'spawn')).toHaveLength(1);
    expect(world.onDisk()).toHaveLength(1);
    world.runners.delete('first');
    await world.until('the first to be gone', () => world.get('first') === undefined);
    world.runners.bind('second', world.host, DIGEST);
    await world.untilReady('second');
  });

  test('takes the older Runner of two that are bound at once, whichever it hears of first', async () => {
    room(1);
    world.runners.create('older');
    await world.clock.advance(1_000);
    world.runners.create('younger');
    for (const name of ['younger', 'older']) world.runners.bind(name, world.host, DIGEST);
    await world.start();
    await world.untilReady('older');
    await back('younger');
  });

  test('counts a start that is under way, and not yet on disk', async () => {
    room(1);
    world.runners.create('older');
    await world.clock.advance(1_000);
    await world.start();
    const goOn = world.holdBack('api.template');
    world.bound('younger');
    await world.settle();
    world.runners.bind('older', world.host, DIGEST);
    await back('older');
    goOn();
    await world.untilReady('younger');
  });

  test('counts what is being torn down', async () => {
    room(1);
    await world.start();
    world.bound('first');
    await world.untilReady('first');
    const goOn = world.holdBack('runtime.purge');
    world.runners.delete('first');
    world.bound('second');
    await back('second');
    goOn();
    await world.until('the first to be gone', () => world.get('first') === undefined);
  });

  test('gives room to the next at the very moment at which one is let go of', async () => {
    room(1);
    await world.start();
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) world.runners.create(name, { completion: 'Script' });
    const bindNext = (): void => {
      const bound = names.filter((name) => world.get(name)?.spec.binding !== undefined);
      const isHeld = bound.some((name) => world.get(name)?.metadata.finalizers?.length !== 0);
      const next = names[bound.length];
      if (!isHeld && next !== undefined) world.runners.bind(next, world.host, DIGEST);
    };
    world.runners.watchers.add(bindNext);
    bindNext();
    await world.until('the last to end', () => world.status('d')?.phase === 'Finished');
    for (const name of names) expect(attempts(name)).toBeUndefined();
  });

  test('counts what a former daemon left, and keeps what runs when it may take less', async () => {
    await world.start();
    for (const name of ['a', 'b']) world.bound(name);
    for (const name of ['a', 'b']) await world.untilReady(name);
    await world.kill();
    room(1);
    world.bound('c');
    await world.start();
    await back('c');
    for (const name of ['a', 'b']) expect(world.condition(name, 'Ready')?.status).toBe('True');
    expect(world.machine.running()).toHaveLength(2);
  });

  test('never starts more than it takes, however many are bound at once', async () => {
    room(3);
    await world.start();
    const names = Array.from({ length: 8 }, (_, index) => `r${index}`);
    for (const name of names) world.bound(name);
    const isDecided = (name: string) => isBack(name) || world.condition(name, 'Ready')?.status === 'True';
    await world.until('all to be decided', () => names.every(isDecided));
    expect(world.machine.running()).toHaveLength(3);
    expect(names.filter(isBack)).toHaveLength(5);
  });
});
