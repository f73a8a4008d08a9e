import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GuestReport } from '../../guest/protocol.ts';
import { type Clock, systemClock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import { type GuestLink, startGuestLink } from './server.ts';

const A = { token: 'aa'.repeat(32), mac: '52:54:00:00:00:0a', uid: 'uid-a', attempt: 1 };
const B = { token: 'bb'.repeat(32), mac: '52:54:00:00:00:0b', uid: 'uid-b', attempt: 1 };
const report = (changes: Partial<GuestReport> = {}): GuestReport => ({
  mac: A.mac,
  ip: '10.0.2.15',
  event: 'Ready',
  state: 'NoRunner',
  ...changes,
});

let now = 0;
const clock: Clock = { ...systemClock, monotonic: () => now };
let link: GuestLink;
let logged: string[];
let seen: string[];

const log: Logger = {
  debug: () => {},
  info: () => {},
  warn: (fields, message) => logged.push(`${message} ${JSON.stringify(fields)}`),
  error: (fields, message) => logged.push(`${message} ${JSON.stringify(fields)}`),
};

beforeEach(async () => {
  now = 0;
  logged = [];
  seen = [];
  link = await startGuestLink({ host: '127.0.0.1', port: 0, log, clock });
  link.expect(A, ({ mac, state }) => seen.push(`A ${mac} ${state}`));
});

afterEach(() => link.close());

interface Sent {
  readonly token?: string | undefined;
  readonly body?: string | object;
  readonly method?: string;
  readonly path?: string;
}

/** Status code of the answer. */
async function send({ token, body = report(), method = 'POST', path = '/notify' }: Sent): Promise<number> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const sent = request({ host: '127.0.0.1', port: link.port, method, path, headers, agent: false });
  sent.end(typeof body === 'string' ? body : JSON.stringify(body));
  const [response] = await once(sent, 'response');
  response.resume();
  return response.statusCode;
}

describe('a report', () => {
  test('is handed to whom it concerns', async () => {
    link.expect(B, ({ mac }) => seen.push(`B ${mac}`));
    expect(await send({ token: B.token, body: report({ mac: B.mac }) })).toBe(204);
    expect(await send({ token: A.token })).toBe(204);
    expect(seen).toEqual([`B ${B.mac}`, `A ${A.mac} NoRunner`]);
    expect(link.counts()).toEqual({ accepted: 2, unauthorized: 0, malformed: 0, throttled: 0 });
  });

  test('is told apart by token and MAC however it is spelt', async () => {
    link.expect({ ...B, mac: B.mac.toUpperCase() }, ({ mac }) => seen.push(`B ${mac}`));
    expect(await send({ token: B.token, body: report({ mac: B.mac.toUpperCase() }) })).toBe(204);
    expect(seen).toEqual([`B ${B.mac}`]);
  });

  test.each([
    ['no token', { token: undefined }],
    ['an unknown token', { token: 'cc'.repeat(32) }],
    ['a token with something after it', { token: `${A.token}0` }],
    ["another VM's MAC", { token: A.token, body: report({ mac: B.mac }) }],
    ["another VM's token", { token: B.token }],
  ])('with %s is refused and counted', async (_what, sent) => {
    expect(await send(sent)).toBe(401);
    expect(seen).toEqual([]);
    expect(link.counts()).toMatchObject({ accepted: 0, unauthorized: 1 });
  });

  test("is refused where both VMs are known and one uses the other's token", async () => {
    link.expect(B, () => seen.push('B'));
    expect(await send({ token: B.token, body: report({ mac: A.mac }) })).toBe(401);
    expect(await send({ token: A.token, body: report({ mac: B.mac }) })).toBe(401);
    expect(seen).toEqual([]);
  });

  test.each([
    ['no JSON', { body: 'mac=1' }],
    ['another shape', { body: { ...report(), state: 'Dancing' } }],
    ['an address that is none', { body: { ...report(), ip: '10.0.2' } }],
    ['a line end in a name', { body: { ...report(), runnerName: 'a\nb' } }],
    ['more than 4 KiB', { body: { ...report(), more: 'x'.repeat(5_000) } }],
    ['another path', { path: '/exec' }],
    ['another method', { method: 'PUT' }],
  ])('with %s is refused and counted', async (_what, sent) => {
    expect(await send({ token: A.token, ...sent })).toBe(400);
    expect(seen).toEqual([]);
    expect(link.counts()).toMatchObject({ accepted: 0, malformed: 1 });
  });

  test('of a newer agent may say more', async () => {
    expect(await send({ token: A.token, body: { ...report(), mood: 'good' } })).toBe(204);
  });

  test('is refused before its guest is expected and after it is forgotten', async () => {
    expect(await send({ token: B.token, body: report({ mac: B.mac }) })).toBe(401);
    link.expect(B, () => seen.push('B'));
    expect(await send({ token: B.token, body: report({ mac: B.mac }) })).toBe(204);
    link.forget(B);
    link.forget(B);
    expect(await send({ token: B.token, body: report({ mac: B.mac }) })).toBe(401);
    expect(seen).toEqual(['B']);
  });

  test('goes to the newest who asked for it', async () => {
    link.expect({ ...A, token: B.token }, () => seen.push('again'));
    expect(await send({ token: A.token })).toBe(401);
    expect(await send({ token: B.token })).toBe(204);
    expect(seen).toEqual(['again']);
  });

  test('that comes too often is refused, until the guest calms down', async () => {
    const codes: number[] = [];
    for (let i = 0; i < 60; i += 1) codes.push(await send({ token: A.token }));
    expect(codes.filter((code) => code === 204)).toHaveLength(50);
    expect(codes.at(-1)).toBe(429);
    now += 10_000;
    expect(await send({ token: A.token })).toBe(204);
  });

  test('that its owner cannot handle is an error of ours, and said so', async () => {
    link.expect(A, () => {
      throw new Error('a bug');
    });
    expect(await send({ token: A.token })).toBe(204);
    expect(logged).toEqual([expect.stringMatching(/could not be handled.*uid-a/)]);
  });
});

describe('the link', () => {
  test('never says a token, and does not fill the log', async () => {
    for (let i = 0; i < 20; i += 1) await send({ token: `guess-${i}` });
    expect(logged).toHaveLength(5);
    expect(logged.join()).not.toMatch(/guess/);
  });

  test('takes no token twice', () => {
    expect(() => link.expect({ ...B, token: A.token }, () => {})).toThrow(/one token/);
  });

  test('survives what is not HTTP', async () => {
    const socket = connect(link.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end('\x16\x03\x01 hello?\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
    expect(link.counts()).toMatchObject({ malformed: 1 });
    expect(await send({ token: A.token })).toBe(204);
  });

  test('says in a line that its port is taken', async () => {
    const second = startGuestLink({ host: '127.0.0.1', port: link.port, log });
    await expect(second).rejects.toMatchObject({ name: 'GuestLinkError', kind: 'listen' });
    await expect(second).rejects.toThrow(
      /^the guest link cannot listen on 127\.0\.0\.1:\d+: another process listens there; choose another port/,
    );
  });

  test('says in a line that its address is not here', async () => {
    const elsewhere = startGuestLink({ host: '192.0.2.1', port: 0, log });
    await expect(elsewhere).rejects.toThrow(/192\.0\.2\.1:0: this machine has no such address/);
  });

  test('closes though somebody is connected', async () => {
    const other = await startGuestLink({ host: '127.0.0.1', port: 0, log });
    const socket = connect(other.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    await other.close();
    await expect(startGuestLink({ host: '127.0.0.1', port: other.port, log })).resolves.toMatchObject({
      port: other.port,
      close: expect.any(Function),
    });
  });
});
