import { beforeEach, describe, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import { ApiError, ApiUnreachable } from '../../kube/errors.ts';
import { applyMergePatch } from '../../kube/merge-patch.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import { ManualClock, settle } from '../../kube/testing/manual-clock.ts';
import { linuxHost } from '../../test/builders/host.ts';
import { runner } from '../../test/builders/runner.ts';
import { runnerClass } from '../../test/builders/runner-class.ts';
import { stored } from '../../test/builders/stored.ts';
import { template } from '../../test/builders/template.ts';
import { BindLoop, REFUSED_RETRY_MS } from './bind-loop.ts';
import { Binder } from './binder.ts';
import { hostFacts } from './facts.ts';

const unreachable = new ApiUnreachable('https://x', 'Reset', 'connection reset');

/** An API server with a loop before it. Answers wait until the test lets them go, where it says so. */
class World {
  readonly clock = new ManualClock();
  readonly objects = new Map<string, Stored<Runner>>();
  readonly log: string[] = [];
  readonly refused: string[] = [];
  readonly toldBound: string[] = [];
  reading = true;
  writing: 'works' | 'fails' | 'is lost' | 'is refused' = 'works';
  gate: Promise<void> | undefined;
  writes = 0;
  mostInFlight = 0;
  #inFlight = 0;

  readonly binder = new Binder({
    policy: 'spread',
    rejudgeAfterMs: 30_000,
    clock: this.clock,
    boundHost: () => 'there',
    catalogue: {
      template: () => template(),
      runnerClass: () => runnerClass({ spec: { cpu: 1, memory: '16Mi', disk: '16Mi' } }),
      defaultClass: () => undefined,
    },
  });

  readonly loop = new BindLoop({
    binder: this.binder,
    runners: {
      get: async ({ name }) => {
        if (!this.reading) throw unreachable;
        return this.objects.get(name);
      },
      patch: async (ref, version, patch) => await this.#patch(ref, version, patch),
    },
    learn: (object) => {
      this.binder.runnerChanged(object);
      return object;
    },
    clock: this.clock,
    log: {
      debug() {},
      info: (_, message) => void this.log.push(message),
      warn: (_, message) => void this.log.push(message),
      error: (_, message) => void this.log.push(message),
    },
    onRound: () => undefined,
    onBound: ({ runner }) => void this.toldBound.push(runner.metadata.name),
    onRefused: (_, message) => void this.refused.push(message),
  });

  host(runners: number): void {
    const host = linuxHost({
      metadata: { name: 'h', uid: 'uid-h' },
      status: { allocatable: { runners, cpu: 1000 } },
    });
    this.binder.hostChanged(hostFacts(host, 'heard'));
  }

  runner(name: string): void {
    const object = stored(runner({ metadata: { name, uid: `uid-${name}` } }));
    this.objects.set(name, object);
    this.binder.runnerChanged(object);
    this.loop.wake();
  }

  get bound(): string[] {
    return [...this.objects.values()]
      .filter(({ spec }) => spec.binding !== undefined)
      .map(({ metadata }) => metadata.name);
  }

  async #patch({ name }: ObjectRef, version: string, patch: object): Promise<Stored<Runner>> {
    this.writes += 1;
    this.#inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    try {
      await this.gate;
      return this.#apply(name, version, patch);
    } finally {
      this.#inFlight -= 1;
    }
  }

  #apply(name: string, version: string, patch: object): Stored<Runner> {
    const object = this.objects.get(name);
    if (object === undefined) throw new ApiError(404, 'NotFound', 'gone', { name });
    if (this.writing === 'fails') throw unreachable;
    if (this.writing === 'is refused') throw new ApiError(422, 'Invalid', 'spec.binding: no');
    if (object.metadata.resourceVersion !== version) throw new ApiError(409, 'Conflict', 'changed');
    const changed = applyMergePatch(object, patch) as Stored<Runner>;
    const next = stored(changed, { resourceVersion: String(Number(version) + 1) });
    this.objects.set(name, next);
    if (this.writing === 'is lost') throw unreachable;
    return next;
  }
}

let world: World;
beforeEach(() => {
  world = new World();
});

test('nothing is bound before the loop begins', async () => {
  world.host(1);
  world.runner('r');
  await world.clock.advance(60_000);
  expect(world.writes).toBe(0);
  world.loop.start();
  await world.clock.advance(1);
  expect(world.bound).toEqual(['r']);
});

test('so many writes are under way at once and no more, and all get their turn', async () => {
  world.host(1000);
  for (let index = 0; index < 100; index += 1) world.runner(`r${index}`);
  const gate = Promise.withResolvers<void>();
  world.gate = gate.promise;
  world.loop.start();
  await world.clock.advance(10);
  expect(world.mostInFlight).toBe(32);
  gate.resolve();
  for (let round = 0; round < 10; round += 1) await world.clock.advance(1);
  expect(world.bound).toHaveLength(100);
  expect(world.toldBound.toSorted()).toEqual(world.bound.toSorted());
  expect(world.mostInFlight).toBe(32);
});

describe('a write without an answer', () => {
  test.each([
    ['fails', []],
    ['is lost', ['a']],
  ] as const)('that %s keeps its slot until a read tells', async (writing, bound) => {
    world.host(1);
    world.runner('a');
    world.writing = writing;
    world.reading = false;
    world.loop.start();
    await world.clock.advance(30_000);
    world.runner('b');
    await world.clock.advance(30_000);
    expect(world.bound).toEqual(bound);
    expect(world.writes, 'nothing else is sent for that slot').toBe(1);
    world.writing = 'works';
    world.reading = true;
    await world.clock.advance(120_000);
    expect(world.bound).toEqual(['a']);
    expect(world.toldBound).toEqual(['a']);
    expect(world.objects.get('a')?.spec.binding?.attempt).toBe(1);
  });

  test('of a Runner that is gone by then frees its slot', async () => {
    world.host(1);
    world.runner('a');
    world.writing = 'fails';
    world.loop.start();
    await world.clock.advance(1);
    world.objects.delete('a');
    world.binder.runnerGone('uid-a');
    world.writing = 'works';
    world.runner('b');
    await world.clock.advance(120_000);
    expect(world.bound).toEqual(['b']);
  });
});

test('a refused binding frees its slot for others, is told, and is tried again after a while', async () => {
  world.host(1);
  world.runner('a');
  world.writing = 'is refused';
  world.loop.start();
  await world.clock.advance(1);
  expect(world.refused).toEqual(['spec.binding: no']);
  expect(world.binder.verdict('uid-a')).toEqual({ reason: 'BindingRefused', message: 'spec.binding: no' });
  await world.clock.advance(REFUSED_RETRY_MS - 100);
  expect(world.writes).toBe(1);
  world.writing = 'works';
  await world.clock.advance(200);
  expect(world.bound).toEqual(['a']);
  expect(world.binder.verdict('uid-a')).toBeUndefined();
});

test('a Runner that was deleted while it was matched is forgotten', async () => {
  world.host(1);
  world.runner('a');
  world.objects.delete('a');
  world.loop.start();
  await world.clock.advance(1);
  world.runner('b');
  await world.clock.advance(1);
  expect(world.bound).toEqual(['b']);
});

test('stopping waits for the writes under way and leaves nothing behind', async () => {
  world.host(1);
  world.runner('a');
  world.runner('b');
  const gate = Promise.withResolvers<void>();
  world.gate = gate.promise;
  world.loop.start();
  await world.clock.advance(1);
  let stopped = false;
  const stopping = world.loop.stop().then(() => {
    stopped = true;
  });
  await settle();
  expect(stopped).toBe(false);
  gate.resolve();
  await stopping;
  await settle();
  expect(world.clock.timers).toBe(0);
  world.loop.wake();
  expect(world.clock.timers).toBe(0);
});
