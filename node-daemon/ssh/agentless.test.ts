import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { rotateLogin } from './agentless.ts';
import { generateSshKeyPair } from './key-pair.ts';
import { openSession, type SshTarget } from './session.ts';
import { exit, FakeSshServer } from './testing/fake-ssh-server.ts';

const TEMPLATE = generateSshKeyPair();
const OWN = generateSshKeyPair();

let server: FakeSshServer;
let own: SshTarget;

beforeEach(async () => {
  server = new FakeSshServer();
  server.authorized.add(TEMPLATE.publicKey);
  server.onCommand = ({ command, channel }) => {
    const [, key = ''] = /'(ssh-ed25519 [^']+)'$/.exec(command) ?? [];
    server.authorized.clear();
    server.authorized.add(key);
    exit(channel, 0);
  };
  await server.listen();
  own = {
    host: '127.0.0.1',
    port: server.port,
    user: 'runner',
    privateKey: OWN.privateKey,
    hostKey: undefined,
  };
});

afterEach(() => server.close());

const login = (target: SshTarget) => openSession(target, { timeoutMs: 5_000 });
const first = () => ({ ...own, fallbackKey: TEMPLATE.privateKey });

describe('rotateLogin', () => {
  test("puts the Runner's key in place of the template's, and logs in with it", async () => {
    const session = await login(first());
    const rotated = await rotateLogin(session, own);
    await session.closed;
    expect([...server.authorized]).toEqual([OWN.publicKey]);
    expect(rotated.publicKey).toBe(OWN.publicKey);
    expect(rotated.hostKey).toBe(server.hostKey.publicKey);
    await expect(login({ ...own, privateKey: TEMPLATE.privateKey })).rejects.toMatchObject({ kind: 'auth' });
    rotated.close();
  });

  test('has nothing to do where a former process did it', async () => {
    server.authorized.clear();
    server.authorized.add(OWN.publicKey);
    server.onCommand = () => server.dropAll();
    const session = await login(first());
    expect(await rotateLogin(session, own)).toBe(session);
    session.close();
  });

  test('says so where the guest cannot, and leaves the session open', async () => {
    server.onCommand = ({ channel }) => exit(channel, 73);
    const session = await login(first());
    await expect(rotateLogin(session, own)).rejects.toThrow(
      /authorized_keys cannot be replaced \(exit code 73\)/,
    );
    server.onCommand = ({ channel }) => exit(channel, 0);
    await session.exec('true', { timeoutMs: 5_000, maxOutputBytes: 0 });
    session.close();
  });

  test('does not believe a guest that goes on refusing the new key', async () => {
    server.onCommand = ({ channel }) => exit(channel, 0);
    const session = await login(first());
    await expect(rotateLogin(session, own)).rejects.toMatchObject({ kind: 'auth' });
    session.close();
  });
});
