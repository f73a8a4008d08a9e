import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GuestStatus } from './protocol.ts';
import { createStatusServer } from './server.ts';

const TOKEN = 'ab'.repeat(32);
const STATUS = {
  version: '0.1.0',
  hostname: 'runner-1',
  uid: 'u',
  attempt: 1,
  bootId: 'b',
  uptimeSeconds: 3,
  mac: 'm',
  ip: 'i',
  state: 'Idle',
} satisfies GuestStatus;

const server = () => createStatusServer(TOKEN, () => STATUS);
let running: ReturnType<typeof server>;
let url: string;

beforeEach(async () => {
  running = server().listen(0, '127.0.0.1');
  await once(running, 'listening');
  url = `http://127.0.0.1:${(running.address() as AddressInfo).port}`;
});
afterEach(() => {
  running.closeAllConnections();
  running.close();
});

describe('the status server', () => {
  test('answers /health to everyone', async () => {
    const response = await fetch(`${url}/health`);
    expect([response.status, await response.json()]).toEqual([200, { ok: true }]);
  });

  test('answers /status to who has the token', async () => {
    const response = await fetch(`${url}/status`, { headers: { authorization: `Bearer ${TOKEN}` } });
    expect([response.status, await response.json()]).toEqual([200, STATUS]);
  });

  test.each([
    undefined,
    '',
    'Bearer',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Basic ${TOKEN}`,
    TOKEN,
  ])('answers 401 to /status with the authorization %j', async (authorization) => {
    const headers = authorization === undefined ? {} : { authorization };
    const response = await fetch(`${url}/status`, { headers });
    expect(response.status).toBe(401);
    expect(await response.text()).not.toContain('runner-1');
  });

  test.each([
    ['GET', '/', 404],
    ['GET', '/exec', 404],
    ['POST', '/exec', 404],
    ['GET', '/status/', 404],
    ['POST', '/status', 405],
    ['PUT', '/health', 405],
    ['DELETE', '/status', 405],
  ])('answers %s %s with %i', async (method, path, code) => {
    const response = await fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${TOKEN}` } });
    expect(response.status).toBe(code);
  });

  test('cuts off who sends headers without end', async () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(`GET /health HTTP/1.1\r\nx: ${'a'.repeat(64 * 1024)}`);
    socket.on('error', () => undefined);
    const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    if (Buffer.isBuffer(answer)) expect(answer.toString()).toMatch(/^HTTP\/1.1 431 /);
    socket.destroy();
  });
});
