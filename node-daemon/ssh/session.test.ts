import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { generateSshKeyPair } from './key-pair.ts';
import { openSession, type SshTarget } from './session.ts';
import { exit, FakeSshServer } from './testing/fake-ssh-server.ts';

const KEY = generateSshKeyPair();
const OTHER_KEY = generateSshKeyPair();
const TIMEOUT_MS = 5_000;
const RUN = { timeoutMs: TIMEOUT_MS, maxOutputBytes: 1024 };

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

const open = (changes: Partial<SshTarget> = {}, timeoutMs = TIMEOUT_MS) =>
  openSession(target(changes), { timeoutMs });

describe('openSession', () => {
  test('logs in to the server that it expects, whose pinned key may carry a comment', async () => {
    const session = await open({ hostKey: `${server.hostKey.publicKey} root@template\n` });
    expect(session.hostKey).toBe(server.hostKey.publicKey);
    expect(session.publicKey).toBe(KEY.publicKey);
    session.close();
    await session.closed;
  });

  test('asks for nothing but the key: no round trip is spent on other methods', async () => {
    const session = await open();
    expect(server.offered).toEqual([KEY.publicKey]);
    session.close();
  });

  test('without a pinned key it takes what it finds, and tells it', async () => {
    const session = await open({ hostKey: undefined });
    expect(session.hostKey).toBe(server.hostKey.publicKey);
    session.close();
  });

  test('another host key ends the login before any key of ours is offered', async () => {
    await expect(open({ hostKey: OTHER_KEY.publicKey })).rejects.toMatchObject({ kind: 'hostKey' });
    expect(server.offered).toEqual([]);
  });

  test('a server without a key of the pinned kind is another server', async () => {
    const hostKey = 'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=';
    await expect(open({ hostKey })).rejects.toMatchObject({ kind: 'hostKey' });
  });

  test('a refused key', async () => {
    await expect(open({ privateKey: OTHER_KEY.privateKey })).rejects.toMatchObject({ kind: 'auth' });
  });

  test('the fallback key is tried in the same connection', async () => {
    const session = await open({ privateKey: OTHER_KEY.privateKey, fallbackKey: KEY.privateKey });
    expect(session.publicKey).toBe(KEY.publicKey);
    expect(server.offered).toEqual([OTHER_KEY.publicKey, KEY.publicKey]);
    expect(server.connections).toBe(1);
    session.close();
  });

  test('a key that is none is said so without repeating it', async () => {
    const failure = open({ privateKey: 'not-a-key-but-a-secret' });
    await expect(failure).rejects.toMatchObject({ kind: 'auth' });
    await expect(failure).rejects.not.toThrow(/secret/);
    expect(server.connections).toBe(0);
  });

  test.each([
    ['reset', 'unreachable'],
    ['garbage', 'protocol'],
  ] as const)('a peer that answers with a %s is %s', async (reception, kind) => {
    server.reception = reception;
    await expect(open()).rejects.toMatchObject({ kind });
  });

  test('nothing listens', async () => {
    const { port } = server;
    await server.close();
    const failure = openSession(
      { ...target, host: '127.0.0.1', port, user: 'u', ...KEY, hostKey: undefined },
      RUN,
    );
    await expect(failure).rejects.toMatchObject({ kind: 'unreachable' });
  });

  test('a peer that takes the connection and says nothing', async () => {
    server.reception = 'silent';
    await expect(open({}, 50)).rejects.toMatchObject({ kind: 'timeout' });
  });

  test('an aborted signal ends it with its reason, before and during', async () => {
    server.reception = 'silent';
    const reason = new Error('enough');
    const early = openSession(target(), { timeoutMs: TIMEOUT_MS, signal: AbortSignal.abort(reason) });
    await expect(early).rejects.toBe(reason);
    const controller = new AbortController();
    const late = openSession(target(), { timeoutMs: TIMEOUT_MS, signal: controller.signal });
    late.catch(() => {});
    await server.connected(1);
    controller.abort(reason);
    await expect(late).rejects.toBe(reason);
  });
});

test('a peer that no longer answers is given up after a while, with what runs on it', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const frozen = Promise.withResolvers<void>();
  server.onCommand = () => {
    server.freeze();
    frozen.resolve();
  };
  const session = await open();
  const command = session.exec('x', { ...RUN, timeoutMs: 600_000 });
  command.catch(() => {});
  await frozen.promise;
  vi.advanceTimersByTime(60_000);
  await session.closed;
  await expect(command).rejects.toMatchObject({ kind: 'closed' });
});

describe('exec', () => {
  test('returns exit code and both outputs', async () => {
    server.onCommand = ({ command, channel }) => exit(channel, 3, `out of ${command}`, 'err');
    const session = await open();
    expect(await session.exec('a command', RUN)).toEqual({
      exitCode: 3,
      signal: undefined,
      stdout: 'out of a command',
      stderr: 'err',
      truncated: false,
    });
    session.close();
  });

  test('names the signal that ended a command', async () => {
    server.onCommand = ({ channel }) => {
      channel.exit('KILL', false, '');
      channel.end();
    };
    const session = await open();
    expect(await session.exec('x', RUN)).toMatchObject({ exitCode: null, signal: 'SIGKILL' });
    session.close();
  });

  test('a channel that closes without a word has no exit code', async () => {
    server.onCommand = ({ channel }) => channel.end();
    const session = await open();
    expect(await session.exec('x', RUN)).toMatchObject({ exitCode: null, signal: undefined });
    session.close();
  });

  test('sends input of many packets and closes it', async () => {
    server.onCommand = ({ channel }) => {
      let length = 0;
      channel.on('data', (chunk: Buffer) => {
        length += chunk.length;
      });
      channel.on('end', () => exit(channel, 0, String(length)));
    };
    const session = await open();
    const stdin = 'x'.repeat(3_000_000);
    expect(await session.exec('x', { ...RUN, stdin })).toMatchObject({ stdout: '3000000' });
    session.close();
  });

  test('keeps a bounded part of the output and reads on', async () => {
    server.onCommand = ({ channel }) => exit(channel, 0, 'x'.repeat(5_000_000));
    const session = await open();
    const result = await session.exec('x', RUN);
    expect(result.stdout).toBe('x'.repeat(1024));
    expect(result.truncated).toBe(true);
    expect(result.exitCode).toBe(0);
    session.close();
  });

  test('latin1 keeps every byte', async () => {
    server.onCommand = ({ channel }) => {
      channel.write(Buffer.from([0xe2, 0x82, 0x00, 0xff]));
      exit(channel, 0);
    };
    const session = await open();
    const { stdout } = await session.exec('x', { ...RUN, encoding: 'latin1' });
    expect(Buffer.from(stdout, 'latin1')).toEqual(Buffer.from([0xe2, 0x82, 0x00, 0xff]));
    session.close();
  });

  test('runs several commands at once', async () => {
    server.onCommand = ({ command, channel }) => setImmediate(() => exit(channel, 0, command));
    const session = await open();
    const results = await Promise.all(['a', 'b', 'c'].map((command) => session.exec(command, RUN)));
    expect(results.map(({ stdout }) => stdout)).toEqual(['a', 'b', 'c']);
    session.close();
  });

  test('a command that does not end times out and the session goes on', async () => {
    server.onCommand = ({ command, channel }) => command === 'true' && exit(channel, 0);
    const session = await open();
    await expect(session.exec('sleep', { ...RUN, timeoutMs: 50 })).rejects.toMatchObject({ kind: 'timeout' });
    expect(await session.exec('true', RUN)).toMatchObject({ exitCode: 0 });
    session.close();
  });

  test('an aborted signal ends it with its reason', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    server.onCommand = () => controller.abort(reason);
    const session = await open();
    await expect(session.exec('x', { ...RUN, signal: controller.signal })).rejects.toBe(reason);
    await expect(session.exec('x', { ...RUN, signal: controller.signal })).rejects.toBe(reason);
    session.close();
  });

  test('a connection that ends under a command', async () => {
    server.onCommand = ({ channel, drop }) => {
      channel.write('half an ans');
      drop();
    };
    const session = await open();
    await expect(session.exec('x', RUN)).rejects.toMatchObject({ kind: 'closed' });
    await session.closed;
    await expect(session.exec('x', RUN)).rejects.toMatchObject({ kind: 'closed' });
  });

  test('a connection that is cut under a command, and one that is closed by us', async () => {
    server.onCommand = () => server.dropAll();
    const cut = await open();
    await expect(cut.exec('x', RUN)).rejects.toMatchObject({ kind: 'closed' });
    server.onCommand = () => closing.close();
    const closing = await open();
    await expect(closing.exec('x', RUN)).rejects.toMatchObject({ kind: 'closed' });
    await closing.closed;
  });
});
