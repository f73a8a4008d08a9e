import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from 'vitest';
import { postReport } from './post-report.ts';
import type { GuestReport } from './protocol.ts';

const REPORT = { mac: 'm', ip: 'i', event: 'Ready', state: 'NoRunner' } satisfies GuestReport;
const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

async function host(code: number) {
  const requests: {
    method: string | undefined;
    url: string | undefined;
    headers: IncomingHttpHeaders;
    body: string;
  }[] = [];
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request;
    requests.push({ method, url, headers, body: await text(request) });
    response.writeHead(code).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

test('posts the report with the token', async () => {
  const { url, requests } = await host(204);
  expect(await postReport(url, 'secret', REPORT)).toBe(true);
  expect(requests[0]).toMatchObject({
    method: 'POST',
    url: '/notify',
    headers: { authorization: 'Bearer secret' },
  });
  expect(JSON.parse(requests[0]?.body ?? '')).toEqual(REPORT);
});

test.each([200, 401, 500])('counts %i as not accepted', async (code) => {
  const { url } = await host(code);
  expect(await postReport(url, 'secret', REPORT)).toBe(false);
});

test('counts a host that is not there as not accepting', async () => {
  expect(await postReport('http://127.0.0.1:1', 'secret', REPORT)).toBe(false);
});
