import { describe, expect, test } from 'vitest';
import type { Collection } from './client.ts';
import { ApiError, ApiUnreachable } from './errors.ts';
import { Informer, type InformerOptions, type InformerProblem } from './informer.ts';
import type { KubeObject } from './object.ts';
import { FakeCollection } from './testing/fake-collection.ts';
import { ManualClock, settle } from './testing/manual-clock.ts';
import { THINGS, type Thing } from './testing/model-collection.ts';

function setup(options: Partial<InformerOptions<Thing, 'value'>> = {}) {
  const clock = new ManualClock();
  const api = new FakeCollection();
  const story: string[] = [];
  const problems: InformerProblem[] = [];
  const informer = new Informer<Thing, 'value'>({
    client: { collection: <T extends KubeObject>() => api as unknown as Collection<T> },
    type: THINGS,
    indexes: { value: (thing) => [String(thing.spec.value)] },
    onProblem: (problem) => problems.push(problem),
    clock,
    random: () => 1,
    ...options,
  });
  informer.on({
    added: (thing) => story.push(`+${thing.metadata.name}`),
    updated: (old, thing) => story.push(`${thing.metadata.name}:${old.spec.value}>${thing.spec.value}`),
    deleted: (thing) => story.push(`-${thing.metadata.name}`),
  });
  return { clock, api, server: api.server, story, problems, informer };
}

async function synced(options: Partial<InformerOptions<Thing, 'value'>> = {}) {
  const world = setup(options);
  world.server.create('a', 1);
  world.informer.start();
  await settle();
  world.story.length = 0;
  world.api.requests.length = 0;
  return world;
}

describe('an informer', () => {
  test('lists by a stream, then follows', async () => {
    const { api, server, informer, story } = setup();
    server.create('a', 1);
    informer.start();
    expect(informer.isSynced).toBe(false);
    await informer.synced;
    server.create('b', 2);
    server.modify('a', 3);
    server.delete('b');
    api.flush();
    await settle();
    expect(story).toEqual(['+a', '+b', 'a:1>3', '-b']);
    expect(api.requests).toEqual(['stream']);
    expect(informer.store.by('value', '3').map((thing) => thing.metadata.name)).toEqual(['a']);
  });

  test.each(['refused', 'ignored'] as const)(
    'lists in pages where streaming is %s',
    async (streamingLists) => {
      const { clock, api, server, informer } = setup();
      api.streamingLists = streamingLists;
      for (const name of ['a', 'b', 'c', 'd', 'e']) server.create(name);
      informer.start();
      await clock.advance(1_000);
      expect(informer.store.size).toBe(5);
      expect(api.requests).toEqual(['stream', 'list', 'list', 'list', `watch ${server.resourceVersion}`]);
    },
  );

  test('never asks for a stream where it was told not to', async () => {
    const { api, informer } = setup({ streamingLists: false });
    informer.start();
    await settle();
    expect(api.requests[0]).toBe('list');
  });

  test('goes on from where it was when the connection breaks, and misses nothing', async () => {
    const { clock, api, server, story } = await synced();
    const position = server.resourceVersion;
    api.cut();
    server.create('b', 2);
    server.delete('a');
    await clock.advance(1_000);
    expect(story).toEqual(['+b', '-a']);
    expect(api.requests).toEqual([`watch ${position}`]);
  });

  test('goes on at once when the server ends the watch', async () => {
    const { clock, api, server, problems } = await synced();
    await clock.advance(2_000);
    api.cut('clean');
    await settle();
    expect([api.requests, problems]).toEqual([[`watch ${server.resourceVersion}`], []]);
  });

  test('does not spin where a server ends every watch at once', async () => {
    const { clock, api } = await synced();
    for (let round = 0; round < 600; round += 1) {
      api.cut('clean');
      await clock.advance(100);
    }
    expect(api.requests.length).toBeLessThan(20);
  });

  test('lists anew when its position has expired, and tells of what was re-created', async () => {
    const { clock, api, server, informer, story } = await synced();
    api.cut();
    server.delete('a');
    server.create('a', 5);
    api.compactedBefore = server.resourceVersion;
    await clock.advance(1_000);
    expect(story).toEqual(['-a', '+a']);
    expect(api.requests.at(-1)).toBe('stream');
    expect(informer.problem).toBeUndefined();
  });

  test('tells what a list anew shows to have changed before it is complete, once; and the rest when it is', async () => {
    const { clock, api, server, informer, story } = await synced();
    server.create('b', 2);
    server.create('doomed', 3);
    api.flush();
    await settle();
    story.length = 0;
    api.cut();
    server.modify('a', 5);
    server.create('c', 6);
    server.delete('doomed');
    api.compactedBefore = server.resourceVersion;
    api.streamingLists = 'held';
    await clock.advance(1_000);
    expect([story, informer.store.size]).toEqual([['a:1>5', '+c'], 4]);
    api.streamingLists = 'served';
    api.flush();
    await settle();
    expect([story, informer.store.size]).toEqual([['a:1>5', '+c', '-doomed'], 3]);
    server.modify('c', 7);
    api.flush();
    await settle();
    expect(story.at(-1)).toBe('c:6>7');
  });

  test('is right in the end where a list anew breaks off in the midst', async () => {
    const { clock, api, server, informer, story } = await synced();
    api.cut();
    server.modify('a', 5);
    api.compactedBefore = server.resourceVersion;
    api.streamingLists = 'held';
    await clock.advance(1_000);
    server.delete('a');
    api.streamingLists = 'served';
    api.cut();
    await clock.advance(1_000);
    expect([story, informer.store.size]).toEqual([['a:1>5', '-a'], 0]);
  });

  test('tells nothing of its first list before that is complete', async () => {
    const { api, server, informer, story } = setup();
    server.create('a', 1);
    api.streamingLists = 'held';
    informer.start();
    await settle();
    expect([story, informer.store.size]).toEqual([[], 0]);
  });

  test('opens a watch anew that has been silent', async () => {
    const { clock, api, server, story, problems } = await synced();
    api.silent = true;
    server.create('b', 2);
    api.flush();
    await clock.advance(89_000);
    expect(problems).toEqual([]);
    api.silent = false;
    await clock.advance(2_000);
    expect(story).toEqual(['+b']);
    expect(problems.map((problem) => problem.error.name)).toEqual(['SilentWatch']);
  });

  test('is not disturbed where something is heard now and then', async () => {
    const { clock, api, server, problems } = await synced();
    for (let minute = 1; minute <= 10; minute += 1) {
      server.modify('a', minute);
      api.flush();
      await clock.advance(60_000);
    }
    expect([api.requests, problems]).toEqual([[], []]);
  });

  test.each([
    ['garbled', new ApiUnreachable('https://api', 'Garbled', 'an event of the watch is not JSON')],
    [
      'ahead of the server',
      new ApiError(504, 'Timeout', 'Too large resource version', {
        causes: [{ reason: 'ResourceVersionTooLarge' }],
      }),
    ],
  ])('gives up a position that is %s again and again', async (_, outage) => {
    const { clock, api, server, informer, story } = await synced();
    api.cut();
    api.outage = outage;
    await clock.advance(5_000);
    api.outage = undefined;
    server.create('b', 2);
    await clock.advance(60_000);
    expect(api.requests.filter((request) => request === `watch ${11}`).length).toBeGreaterThanOrEqual(2);
    expect(api.requests.at(-1)).toBe('stream');
    expect([story, informer.problem]).toEqual([['+b'], undefined]);
  });

  test('is back within a second of a server where nobody listened, however long that took', async () => {
    const { clock, api, server, informer, problems, story } = await synced();
    api.outage = new ApiUnreachable('https://api.test', 'Refused', 'connection refused');
    api.cut();
    await clock.advance(120_000);
    expect(problems.slice(1, 5).map((problem) => problem.retryInMs)).toEqual([200, 400, 800, 800]);
    api.outage = undefined;
    server.create('b', 2);
    await clock.advance(800);
    expect([story, informer.problem]).toEqual([['+b'], undefined]);
  });

  const refused = new ApiUnreachable('https://api.test', 'Refused', 'connection refused');

  test.each([
    ['its paths', new ApiError(503, 'ServiceUnavailable', '…', { retryAfterSeconds: 5 })],
    [
      'its storage',
      new ApiError(429, 'TooManyRequests', 'storage is (re)initializing', { retryAfterSeconds: 1 }),
    ],
    ['its roles', new ApiError(403, 'Forbidden', 'things is forbidden')],
    ['its CRDs', new ApiError(404, 'KindNotServed', 'the API server does not serve things')],
  ])(
    'is back within half a second of a server that has just begun to listen, and lacks %s',
    async (_, answer) => {
      const { clock, api, server, informer, problems, story } = await synced();
      api.outage = refused;
      api.cut();
      await clock.advance(10_000);
      const before = problems.length;
      api.outage = answer;
      await clock.advance(8_000);
      expect(problems.slice(before + 1, before + 6).map(({ retryInMs }) => retryInMs)).toEqual([
        ...[400, 400, 400, 400, 400],
      ]);
      api.outage = undefined;
      server.create('b', 2);
      await clock.advance(400);
      expect([story, informer.problem]).toEqual([['+b'], undefined]);
    },
  );

  test('lets go of a server that answers like one that starts, but goes on with it', async () => {
    const { clock, api, problems } = await synced();
    api.outage = refused;
    api.cut();
    await clock.advance(1_000);
    api.outage = new ApiError(503, 'ServiceUnavailable', '…');
    await clock.advance(120_000);
    expect(problems.at(-1)?.retryInMs).toBe(15_000);
    expect(problems.length).toBeLessThan(60);
  });

  test('sees a server start that it did not see go, and believes that for so long', async () => {
    const { clock, api, problems } = await synced();
    api.outage = new ApiError(
      503,
      'ServiceUnavailable',
      'the request has been made before all known HTTP paths have been installed, please try again',
      { retryAfterSeconds: 5 },
    );
    api.cut();
    await clock.advance(120_000);
    const pauses = problems.map(({ retryInMs }) => retryInMs);
    expect(pauses.slice(1, 5)).toEqual([200, 400, 400, 400]);
    expect(pauses.slice(-3)).toEqual([15_000, 15_000, 15_000]);
  });

  test('waits as long as an overloaded server asks, even right after it has begun to listen', async () => {
    const { clock, api, problems } = await synced();
    api.outage = refused;
    api.cut();
    await clock.advance(1_000);
    const before = problems.length;
    api.outage = new ApiError(429, 'TooManyRequests', 'try again later', { retryAfterSeconds: 3 });
    await clock.advance(60_000);
    expect(problems.slice(before, before + 6).map(({ retryInMs }) => retryInMs)).toEqual([
      ...[3_000, 3_000, 3_000, 3_200, 6_400, 12_800],
    ]);
  });

  test('says why it does not follow, and tries ever more slowly, but at least every fifteen seconds', async () => {
    const { clock, api, informer, problems } = await synced();
    api.outage = new ApiError(403, 'Forbidden', 'things is forbidden');
    api.cut();
    await clock.advance(120_000);
    expect(informer.problem?.error).toBe(api.outage);
    expect(problems.slice(0, 9).map((problem) => problem.retryInMs)).toEqual([
      ...[200, 400, 800, 1_600, 3_200, 6_400, 12_800],
      ...[15_000, 15_000],
    ]);
    expect(informer.isSynced).toBe(true);
    api.outage = undefined;
    await clock.advance(15_000);
    api.server.modify('a', 9);
    api.flush();
    await settle();
    expect(informer.problem).toBeUndefined();
  });

  test('knows when the API server was last heard', async () => {
    const { clock, api, server, informer } = await synced();
    const before = informer.lastContact;
    await clock.advance(30_000);
    expect(informer.lastContact).toBe(before);
    server.modify('a', 2);
    api.flush();
    await settle();
    expect(informer.lastContact).toBe(30_000);
  });

  test('tells new handlers of what is there', async () => {
    const { informer, server, api } = await synced();
    const seen: string[] = [];
    const off = informer.on({ added: (thing) => seen.push(thing.metadata.name) });
    off();
    server.create('b');
    api.flush();
    await settle();
    expect(seen).toEqual(['a']);
  });

  test('counts what it learned at once, and is told of it once', async () => {
    const { informer, server, api, story } = await synced();
    const answer = server.modify('a', 7);
    if (answer !== undefined) informer.learn(answer);
    expect(story).toEqual(['a:1>7']);
    expect(informer.store.by('value', '7')).toHaveLength(1);
    api.flush();
    await settle();
    expect(story).toEqual(['a:1>7']);
  });

  test('stops without a trace', async () => {
    const { clock, api, server, informer, story } = await synced();
    await informer.stop();
    server.create('b');
    api.flush();
    await clock.advance(600_000);
    expect([story, clock.timers, api.openWatches, api.requests]).toEqual([[], 0, 0, []]);
  });

  test('says so where it is stopped before it has synced', async () => {
    const { clock, api, informer } = setup();
    api.outage = new ApiUnreachable('https://api', 'Refused', 'connection refused');
    informer.start();
    await clock.advance(1_000);
    await informer.stop();
    await expect(informer.synced).rejects.toThrow('stopped before it had synced');
    expect(clock.timers).toBe(0);
  });

  test('lets neither its store nor others suffer from a handler that throws', async () => {
    const { informer, server, api, story } = await synced();
    const bug = new Error('a bug');
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const reported = new Promise((resolve) => process.once('uncaughtException', resolve));
    informer.on({
      updated: () => {
        throw bug;
      },
    });
    informer.on({ updated: () => story.push('after') });
    server.modify('a', 2);
    api.flush();
    expect(await reported).toBe(bug);
    for (const listener of listeners) process.on('uncaughtException', listener);
    expect(story).toEqual(['a:1>2', 'after']);
    expect(informer.store.by('value', '2')).toHaveLength(1);
  });
});
