import { afterEach, beforeEach, expect, test } from 'vitest';
import { type HttpEndpoint, serveHttp } from './http-endpoint.ts';

let problem: string | undefined;
let failing = false;
let endpoint: HttpEndpoint;
beforeEach(async () => {
  problem = undefined;
  failing = false;
  endpoint = await serveHttp({
    port: 0,
    metrics: async () => {
      if (failing) throw new Error('a secret detail');
      return { contentType: 'text/plain; version=0.0.4', body: 'x 1\n' };
    },
    notReady: () => problem,
  });
});
afterEach(async () => {
  await endpoint.close();
});

const ask = async (path: string, method = 'GET') => {
  const response = await fetch(`http://127.0.0.1:${endpoint.port}${path}`, { method });
  return { status: response.status, type: response.headers.get('content-type'), body: await response.text() };
};

test('/metrics, with or without a query', async () => {
  const metrics = { status: 200, type: 'text/plain; version=0.0.4', body: 'x 1\n' };
  expect(await ask('/metrics')).toEqual(metrics);
  expect(await ask('/metrics?name=x')).toEqual(metrics);
});

test('/healthz answers whatever is ready; /readyz says why it is not', async () => {
  problem = 'the API server has not been listed yet';
  expect(await ask('/healthz')).toMatchObject({ status: 200, body: 'ok\n' });
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: `${problem}\n` });
  problem = undefined;
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: 'ok\n' });
});

test.each([
  ['/', 'GET', 404],
  ['/metrics', 'POST', 405],
  ['/metrics/../healthzz', 'GET', 404],
])('%s %s is answered with %i', async (path, method, status) => {
  expect(await ask(path, method)).toMatchObject({ status });
});

test('a failure inside shows nothing of itself', async () => {
  failing = true;
  expect(await ask('/metrics')).toMatchObject({ status: 500, body: 'internal error' });
});

test('it stops answering when it is closed, twice as well', async () => {
  await ask('/healthz');
  await endpoint.close();
  await endpoint.close();
  await expect(ask('/healthz')).rejects.toThrow();
});
