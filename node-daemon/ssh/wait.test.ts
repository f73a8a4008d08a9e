import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../kube/clock.ts';
import { generateSshKeyPair } from './key-pair.ts';
import type { SshTarget } from './session.ts';
import { exit, FakeSshServer } from './testing/fake-ssh-server.ts';
import { waitForSsh } from './wait.ts';

const KEY = generateSshKeyPair();
const OTHER_KEY = generateSshKeyPair();
const TIMEOUT_MS = 20_000;
const POLL = { timeout: 4_000 };

/** Real time, run faster: half a minute passes in a moment. */
const HASTE = 20;
const hastyClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now() * HASTE,
  setTimeout: (callback, ms) => systemClock.setTimeout(callback, ms / HASTE),
};

/** No interval ever passes: what happens is brought about by what comes in. */
const frozenClock = (monotonic = () => 0): Clock => ({
  now: () => 0,
  monotonic,
  setTimeout: () => ({ cancel: () => {} }),
});

const PATIENT = { timeoutMs: 86_400_000, clock: hastyClock };

let server: FakeSshServer;

beforeEach(async () => {
  server = new FakeSshServer();
  server.authorized.add(KEY.publicKey);
  await server.listen();
});

afterEach(() => server.close());

const target = (changes: Partial<SshTarget> = {}): SshTarget => ({
  host: '127.0.0.1',
  port: server.port,
  user: 'runner',
  privateKey: KEY.privateKey,
  hostKey: server.hostKey.publicKey,
  ...changes,
});

describe('waitForSsh', () => {
  test('returns the session in which `true` exited 0', async () => {
    const commands: string[] = [];
    server.onCommand = ({ command, channel }) => {
      commands.push(command);
      exit(channel, 0, command);
    };
    const session = await waitForSsh(target(), { timeoutMs: TIMEOUT_MS });
    expect([...new Set(commands)]).toEqual(['true']);
    const run = { timeoutMs: TIMEOUT_MS, maxOutputBytes: 100 };
    expect(await session.exec('after', run)).toMatchObject({ stdout: 'after' });
    session.close();
  });

  test('waits for a server that resets first', async () => {
    server.reception = 'reset';
    const wait = waitForSsh(target(), { timeoutMs: TIMEOUT_MS });
    await server.connected(3);
    server.reception = 'serve';
    const session = await wait;
    session.close();
  });

  test('waits for a port that opens later', async () => {
    const { port } = server;
    await server.close();
    const wait = waitForSsh({ ...target({ hostKey: undefined }), port }, { timeoutMs: TIMEOUT_MS });
    server = new FakeSshServer();
    server.authorized.add(KEY.publicKey);
    await server.listen(port);
    const session = await wait;
    expect(session.hostKey).toBe(server.hostKey.publicKey);
    session.close();
  });

  test('gets past attempts that hang, and leaves none of them behind', async () => {
    server.reception = 'silent';
    const wait = waitForSsh(target(), { timeoutMs: TIMEOUT_MS });
    await server.connected(2);
    server.reception = 'serve';
    const session = await wait;
    await expect.poll(() => server.open, POLL).toBe(1);
    session.close();
    await expect.poll(() => server.open, POLL).toBe(0);
  });

  test("the guest's report starts an attempt though another one hangs", async () => {
    server.reception = 'silent';
    let report = (): void => {};
    let unsubscribed = false;
    const nudge = (listener: () => void) => {
      report = listener;
      return () => {
        unsubscribed = true;
      };
    };
    let time = 0;
    const clock = frozenClock(() => time);
    const wait = waitForSsh(target(), { timeoutMs: TIMEOUT_MS, nudge, clock });
    await server.connected(1);
    server.reception = 'serve';
    time = 100;
    report();
    const session = await wait;
    expect(server.connections).toBe(2);
    expect(unsubscribed).toBe(true);
    session.close();
  });

  test('a server that is up before logins are let in is tried again', async () => {
    server.refusals = 2;
    const session = await waitForSsh(target(), PATIENT);
    expect(server.refusals).toBe(0);
    session.close();
  });

  test('`true` that fails is no readiness', async () => {
    let failures = 2;
    server.onCommand = ({ channel }) => exit(channel, failures-- > 0 ? 1 : 0);
    const session = await waitForSsh(target(), PATIENT);
    expect(failures).toBeLessThan(0);
    session.close();
  });

  test('a connection that is dropped under `true` is tried again', async () => {
    let drops = 1;
    server.onCommand = ({ channel, drop }) => (drops-- > 0 ? drop() : exit(channel, 0));
    const session = await waitForSsh(target(), { timeoutMs: TIMEOUT_MS });
    expect(server.connections).toBeGreaterThan(1);
    session.close();
  });

  test('a server that keeps on refusing is believed, long before the deadline', async () => {
    const wait = waitForSsh(target({ privateKey: OTHER_KEY.privateKey }), PATIENT);
    await expect(wait).rejects.toMatchObject({ kind: 'auth' });
    expect(server.connections).toBeGreaterThan(2);
  });

  test('another host key ends the wait at the first sight', async () => {
    const options = { timeoutMs: TIMEOUT_MS, clock: frozenClock() };
    const wait = waitForSsh(target({ hostKey: OTHER_KEY.publicKey }), options);
    await expect(wait).rejects.toMatchObject({ kind: 'hostKey' });
    expect(server.connections).toBe(1);
  });

  test('a key that cannot be read ends the wait before it begins', async () => {
    const wait = waitForSsh(target({ privateKey: 'no key' }), { timeoutMs: TIMEOUT_MS });
    await expect(wait).rejects.toMatchObject({ kind: 'auth' });
    expect(server.connections).toBe(0);
  });

  test('the deadline tells what was seen last', async () => {
    server.reception = 'reset';
    const wait = waitForSsh(target(), { timeoutMs: 300 });
    await expect(wait).rejects.toMatchObject({ kind: 'timeout' });
    await expect(wait).rejects.toThrow(/within 0\.3 s: 127\.0\.0\.1:\d+ has no SSH server that answers/);
  });

  test('the deadline passes while the login is refused', async () => {
    const wait = waitForSsh(target({ privateKey: OTHER_KEY.privateKey }), { timeoutMs: 300 });
    await expect(wait).rejects.toMatchObject({ kind: 'auth' });
  });

  test('the deadline passes in silence, and nothing stays open', async () => {
    server.reception = 'silent';
    await expect(waitForSsh(target(), { timeoutMs: 100 })).rejects.toMatchObject({ kind: 'timeout' });
    await expect.poll(() => server.open, POLL).toBe(0);
  });

  test('an aborted signal ends it with its reason, and nothing stays open', async () => {
    server.reception = 'silent';
    const reason = new Error('enough');
    const controller = new AbortController();
    const wait = waitForSsh(target(), { timeoutMs: TIMEOUT_MS, signal: controller.signal });
    wait.catch(() => {});
    await server.connected(1);
    controller.abort(reason);
    await expect(wait).rejects.toBe(reason);
    await expect.poll(() => server.open, POLL).toBe(0);
    const late = waitForSsh(target(), { timeoutMs: TIMEOUT_MS, signal: controller.signal });
    await expect(late).rejects.toBe(reason);
  });
});
