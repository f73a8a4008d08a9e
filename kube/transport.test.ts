import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { type KubeClient, type KubeClientOptions, loadKubeClient } from './client.ts';
import { type Clock, systemClock } from './clock.ts';
import { ApiError, ApiUnreachable } from './errors.ts';
import { TestServer } from './testing/http-server.ts';
import { THINGS, type Thing } from './testing/model-collection.ts';

const TOKEN = 'a-very-secret-token';
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connect(
  server: string,
  options: Partial<KubeClientOptions> = {},
  user: object = { token: TOKEN },
) {
  const dir = await mkdtemp(join(tmpdir(), 'kube-'));
  cleanups.push(() => rm(dir, { recursive: true }));
  const kubeconfigPath = join(dir, 'config');
  await writeFile(
    kubeconfigPath,
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  );
  const client = loadKubeClient({ kubeconfigPath, userAgent: 'test/1', timeoutMs: 5_000, ...options });
  cleanups.push(() => client.close());
  return { client, dir };
}

async function setup(answer: RequestListener, options: Partial<KubeClientOptions> = {}, user?: object) {
  const server = await TestServer.start(answer);
  cleanups.push(() => server.close());
  return { server, ...(await connect(server.url, options, user)) };
}

const thing = {
  apiVersion: 'test.dev/v1',
  kind: 'Thing',
  metadata: { name: 'a b', namespace: 'n', uid: 'u', resourceVersion: '7', creationTimestamp: '' },
  spec: { value: 1 },
} as const;

const status = (code: number, reason: string, message: string, details?: object) =>
  JSON.stringify({ kind: 'Status', code, reason, message, details });

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => error,
  );
}

/** Answers one after the other; the last one again and again. */
function answers(...list: RequestListener[]): RequestListener {
  let next = 0;
  return (request, response) => {
    list[Math.min(next, list.length - 1)]?.(request, response);
    next += 1;
  };
}

const ok: RequestListener = (_, response) => response.end(JSON.stringify(thing));
const reset: RequestListener = (request) => request.socket.destroy();
const tooMany: RequestListener = (_, response) => {
  response.writeHead(429, { 'retry-after': '0' }).end(status(429, 'TooManyRequests', 'too many'));
};
const things = (client: KubeClient) => client.resources<Thing>(THINGS);

describe('what is sent', () => {
  test('names the client, carries the credentials, and is fenced', async () => {
    const { client, server } = await setup(ok);
    await things(client).patchStatus({ namespace: 'n', name: 'a b' }, '6', { status: { x: 1 } });
    expect(server.seen).toHaveLength(1);
    expect(server.seen[0]).toMatchObject({
      method: 'PATCH',
      url: '/apis/test.dev/v1/namespaces/n/things/a%20b/status',
      headers: {
        authorization: `Bearer ${TOKEN}`,
        'user-agent': 'test/1',
        'content-type': 'application/merge-patch+json',
      },
    });
    expect(JSON.parse(server.seen[0]?.body ?? '')).toEqual({
      status: { x: 1 },
      metadata: { resourceVersion: '6' },
    });
  });

  test('a delete may depend on the UID', async () => {
    const { client, server } = await setup((_, response) =>
      response.end('{"kind":"Status","status":"Success"}'),
    );
    expect(await things(client).delete({ namespace: 'n', name: 'a' }, { uid: 'u' })).toBe(true);
    expect(JSON.parse(server.seen[0]?.body ?? '')).toMatchObject({ preconditions: { uid: 'u' } });
  });

  test('uses a bounded number of connections, and gets everything through', async () => {
    const { client, server } = await setup(ok);
    const gets = Array.from({ length: 500 }, () => things(client).get({ namespace: 'n', name: 'a' }));
    await Promise.all(gets);
    expect(server.seen).toHaveLength(500);
    expect(server.maxConnections).toBeLessThanOrEqual(64);
  });

  test('asks for all pages of a list', async () => {
    const page = (cont: string) =>
      JSON.stringify({
        metadata: { resourceVersion: '9', continue: cont },
        items: [{ metadata: thing.metadata }],
      });
    const { client, server } = await setup(
      answers(
        (_, response) => response.end(page('next')),
        (_, response) => response.end(page('')),
      ),
    );
    const { items, resourceVersion } = await things(client).list({ labelSelector: 'a=b', namespace: 'n' });
    expect([items.length, items[0]?.kind, resourceVersion]).toEqual([2, 'Thing', '9']);
    expect(server.seen.map((request) => request.url)).toEqual([
      '/apis/test.dev/v1/namespaces/n/things?labelSelector=a%3Db&limit=500',
      '/apis/test.dev/v1/namespaces/n/things?labelSelector=a%3Db&limit=500&continue=next',
    ]);
  });
});

describe('what is tried again', () => {
  test('anything that was refused for being too much', async () => {
    const { client, server } = await setup(answers(tooMany, tooMany, ok));
    await things(client).create(thing);
    expect(server.seen).toHaveLength(3);
  });

  test('but not for ever', async () => {
    const { client, server } = await setup(tooMany);
    expect(await failure(things(client).create(thing))).toMatchObject({ code: 429 });
    expect(server.seen.length).toBeLessThanOrEqual(9);
  });

  test('and not beyond the timeout of the call', async () => {
    const { client, server } = await setup((_, response) => {
      response.writeHead(429, { 'retry-after': '3600' }).end(status(429, 'TooManyRequests', 'too many'));
    });
    expect(await failure(things(client).create(thing))).toMatchObject({ code: 429 });
    expect(server.seen).toHaveLength(1);
  });

  test('nor in a process that was resumed after it: the timer that ends the call may not have run yet', async () => {
    let stoppedMs = 0;
    const clock: Clock = {
      now: () => systemClock.now() + stoppedMs,
      monotonic: () => systemClock.monotonic() + stoppedMs,
      setTimeout: (callback, ms) => {
        const isPauseBeforeRetry = ms < 1_000;
        if (isPauseBeforeRetry) stoppedMs = 60_000;
        return systemClock.setTimeout(callback, ms);
      },
    };
    const { client, server } = await setup(answers(tooMany, ok), { clock });
    expect(await failure(things(client).create(thing))).toMatchObject({ reason: 'Timeout' });
    expect(server.seen).toHaveLength(1);
  });

  test('a read whose connection broke', async () => {
    const { client, server } = await setup(answers(reset, ok));
    expect(await things(client).get({ namespace: 'n', name: 'a' })).toEqual(thing);
    expect(server.seen).toHaveLength(2);
  });

  test('not a write whose connection broke: it may have been carried out', async () => {
    const { client, server } = await setup(answers(reset, ok));
    expect(await failure(things(client).create(thing))).toMatchObject({ reason: 'Reset' });
    expect(server.seen).toHaveLength(1);
  });

  test('a request whose token was refused, with the token read again', async () => {
    const unauthorized: RequestListener = (_, response) => {
      response.writeHead(401).end(status(401, 'Unauthorized', 'Unauthorized'));
    };
    const dir = await mkdtemp(join(tmpdir(), 'kube-'));
    cleanups.push(() => rm(dir, { recursive: true }));
    const tokenFile = join(dir, 'token');
    await writeFile(tokenFile, 'old\n');
    const { client, server } = await setup(answers(ok, unauthorized, ok, unauthorized), {}, { tokenFile });
    const get = () => things(client).get({ namespace: 'n', name: 'a' });
    await get();
    await writeFile(tokenFile, 'new\n');
    await get();
    expect(server.seen.map((request) => request.headers.authorization)).toEqual([
      ...['Bearer old', 'Bearer old', 'Bearer new'],
    ]);
    expect(await failure(get())).toMatchObject({ code: 401 });
  });
});

describe('what goes wrong', () => {
  test('the object is not there: undefined, and false', async () => {
    const { client } = await setup((_, response) => {
      response
        .writeHead(404)
        .end(status(404, 'NotFound', 'things "a" not found', { name: 'a', kind: 'things' }));
    });
    expect(await things(client).get({ namespace: 'n', name: 'a' })).toBeUndefined();
    expect(await things(client).delete({ namespace: 'n', name: 'a' })).toBe(false);
  });

  test('the kind is not served: an error that says so', async () => {
    const { client } = await setup((_, response) => response.writeHead(404).end('404 page not found\n'));
    for (const call of [
      () => things(client).get({ namespace: 'n', name: 'a' }),
      () => things(client).list(),
      () => things(client).create(thing),
      () => things(client).delete({ namespace: 'n', name: 'a' }),
    ]) {
      expect(await failure(call())).toMatchObject({
        reason: 'KindNotServed',
        message: 'the API server does not serve things.test.dev/v1: is its CRD installed?',
      });
    }
  });

  test("a Status becomes an ApiError with the server's words", async () => {
    const causes = [{ field: 'spec.value', message: 'must be positive' }];
    const { client } = await setup((_, response) => {
      response.writeHead(422).end(status(422, 'Invalid', 'Thing is invalid', { causes }));
    });
    const error = await failure(things(client).create(thing));
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      code: 422,
      reason: 'Invalid',
      message: 'Thing is invalid',
      details: { causes },
    });
  });

  test('a page of some proxy becomes one short line', async () => {
    const { client } = await setup((_, response) => {
      response.writeHead(502).end(`<html>\n<h1>Bad gateway</h1>\n${'x'.repeat(5_000)}</html>`);
    });
    const error = (await failure(things(client).create(thing))) as ApiError;
    expect(error.message).toMatch(/^HTTP 502: <html> <h1>Bad gateway<\/h1> x+$/);
    expect(error.message.length).toBeLessThan(250);
  });

  test.each([
    ['text', 'hello'],
    ['JSON of another kind', '{"hello":1}'],
  ])('a success that is %s is no answer', async (_, body) => {
    const { client } = await setup((_request, response) => response.end(body));
    const error = await failure(things(client).get({ namespace: 'n', name: 'a' }));
    expect(error).toMatchObject({ name: 'ApiUnreachable', reason: 'Garbled' });
    await expect(client.version()).rejects.toThrow('is this a Kubernetes API server?');
  });

  test('no answer within the timeout', async () => {
    const { client, server } = await setup(() => undefined, { timeoutMs: 200 });
    expect(await failure(things(client).get({ namespace: 'n', name: 'a' }))).toMatchObject({
      message: `cannot reach the API server at ${server.url}: no answer in time`,
      reason: 'Timeout',
    });
  });

  test('an answer that never ends', async () => {
    const { client } = await setup((_, response) => response.write('{'), { timeoutMs: 200 });
    expect(await failure(things(client).list())).toMatchObject({ reason: 'Timeout' });
  });

  test('nobody listens', async () => {
    const { server, client } = await setup(ok);
    await server.close();
    expect(await failure(things(client).list())).toMatchObject({
      message: `cannot reach the API server at ${server.url}: connection refused`,
      reason: 'Refused',
    });
  });

  test('the name of the host is unknown', async () => {
    const { client } = await connect('https://no-such-host.invalid:6443');
    expect(await failure(client.version())).toMatchObject({ reason: 'UnknownHost' });
  });

  test('neither token nor password is in any error, however it is printed', async () => {
    const { client, server } = await setup(
      answers(reset, (_, response) => response.writeHead(500).end('boom')),
    );
    const errors = [await failure(things(client).create(thing)), await failure(things(client).create(thing))];
    await server.close();
    errors.push(await failure(things(client).create(thing)));
    const withPassword = await connect('https://admin:hunter2@localhost:1/');
    errors.push(await failure(withPassword.client.version()));
    for (const error of errors) {
      const text = inspect(error, { depth: 20, showHidden: true });
      expect(text).not.toContain(TOKEN);
      expect(text).not.toContain('hunter2');
    }
  });
});

describe('stopping', () => {
  test('ends what is under way, and refuses what is new', async () => {
    const stop = new AbortController();
    const arrived = Promise.withResolvers<void>();
    const { client } = await setup(() => arrived.resolve(), { signal: stop.signal });
    const pending = failure(things(client).list());
    await arrived.promise;
    stop.abort();
    expect(await pending).toMatchObject({ reason: 'Stopped' });
    expect(await failure(things(client).list())).toMatchObject({ reason: 'Stopped' });
  });

  test('closing does the same', async () => {
    const arrived = Promise.withResolvers<void>();
    const { client } = await setup(() => arrived.resolve());
    const pending = failure(things(client).list());
    await arrived.promise;
    await client.close();
    await client.close();
    expect(await pending).toBeInstanceOf(ApiUnreachable);
    expect(await failure(things(client).list())).toMatchObject({ reason: 'Stopped' });
  });
});

test("the server's warnings are passed on", async () => {
  const warnings: string[] = [];
  const { client } = await setup(
    (_, response) => {
      response.setHeader('warning', ['299 - "unknown field \\"spec.x\\""', '299 - "deprecated"']);
      response.end(JSON.stringify(thing));
    },
    { onWarning: (text) => warnings.push(text) },
  );
  await things(client).get({ namespace: 'n', name: 'a' });
  expect(warnings).toEqual(['unknown field "spec.x"', 'deprecated']);
});
