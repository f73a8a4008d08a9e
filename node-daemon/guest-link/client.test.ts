import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { GuestStatus } from '../../guest/protocol.ts';
import { type AgentEndpoint, fetchGuestHealth, fetchGuestStatus } from './client.ts';

const TOKEN = 'aa'.repeat(32);
const LIMIT = { timeoutMs: 5_000 };
const STATUS: GuestStatus = {
  version: '1',
  hostname: 'runner-1',
  uid: 'uid-a',
  attempt: 1,
  bootId: 'boot',
  uptimeSeconds: 3.5,
  mac: '52:54:00:00:00:0a',
  ip: '10.0.2.15',
  state: 'Idle',
  runnerName: 'runner-1',
};

let server: Server | undefined;

afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

async function agent(listener: RequestListener): Promise<AgentEndpoint> {
  server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

describe('fetchGuestStatus', () => {
  test('asks with the token and returns what the agent tells', async () => {
    const endpoint = await agent((request, response) => {
      const right = request.url === '/status' && request.headers.authorization === `Bearer ${TOKEN}`;
      response.statusCode = right ? 200 : 401;
      response.end(JSON.stringify(STATUS));
    });
    expect(await fetchGuestStatus(endpoint, TOKEN, LIMIT)).toEqual(STATUS);
    await expect(fetchGuestStatus(endpoint, 'other', LIMIT)).rejects.toMatchObject({ kind: 'unauthorized' });
  });

  test.each<[string, RequestListener]>([
    ['another status', (_, response) => response.writeHead(500).end()],
    ['another shape', (_, response) => response.end('{"state":"Idle"}')],
    ['no JSON', (_, response) => response.end('<html>')],
    ['too much', (_, response) => response.end('x'.repeat(100_000))],
    ['headers too long', (_, response) => response.writeHead(200, { x: 'x'.repeat(20_000) }).end()],
  ])('%s is invalid', async (_what, listener) => {
    const endpoint = await agent(listener);
    await expect(fetchGuestStatus(endpoint, TOKEN, LIMIT)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('no HTTP is invalid', async () => {
    const tcp = createTcpServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')).listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const endpoint = { host: '127.0.0.1', port: (tcp.address() as AddressInfo).port };
    await expect(fetchGuestStatus(endpoint, TOKEN, LIMIT)).rejects.toMatchObject({ kind: 'invalid' });
    tcp.close();
  });

  test('an agent that hangs, before its answer or in it, times out', async () => {
    const limit = { timeoutMs: 50 };
    const silent = await agent(() => {});
    await expect(fetchGuestStatus(silent, TOKEN, limit)).rejects.toMatchObject({ kind: 'timeout' });
    server?.closeAllConnections();
    server?.close();
    const slow = await agent((_, response) => response.write('{'));
    await expect(fetchGuestStatus(slow, TOKEN, limit)).rejects.toMatchObject({ kind: 'timeout' });
  });

  test('an agent that is not there, or goes away', async () => {
    const cut = await agent((request) => request.socket.destroy());
    await expect(fetchGuestStatus(cut, TOKEN, LIMIT)).rejects.toMatchObject({ kind: 'unreachable' });
    await new Promise((resolve) => server?.close(resolve));
    const failure = fetchGuestStatus(cut, TOKEN, LIMIT);
    await expect(failure).rejects.toMatchObject({ kind: 'unreachable' });
    await expect(failure).rejects.not.toThrow(TOKEN);
  });

  test('an aborted signal ends it with its reason', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const endpoint = await agent(() => controller.abort(reason));
    const options = { ...LIMIT, signal: controller.signal };
    await expect(fetchGuestStatus(endpoint, TOKEN, options)).rejects.toBe(reason);
    await expect(fetchGuestStatus(endpoint, TOKEN, options)).rejects.toBe(reason);
  });
});

describe('fetchGuestHealth', () => {
  test('settles when the agent is there', async () => {
    const endpoint = await agent((request, response) => {
      response.statusCode = request.url === '/health' ? 200 : 404;
      response.end('{"ok":true}\n');
    });
    await expect(fetchGuestHealth(endpoint, LIMIT)).resolves.toBeUndefined();
  });

  test('rejects where something else is', async () => {
    const endpoint = await agent((_, response) => response.writeHead(404).end());
    await expect(fetchGuestHealth(endpoint, LIMIT)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
