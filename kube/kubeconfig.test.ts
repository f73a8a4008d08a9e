import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import { Credentials, checkStaticCredentials } from './credentials.ts';
import { KubeconfigError } from './errors.ts';
import { runExecPlugin } from './exec-plugin.ts';
import { type ClusterAccess, type ExecPlugin, loadClusterAccess } from './kubeconfig.ts';
import { clientCertificate } from './testing/certificates.ts';
import { ManualClock } from './testing/manual-clock.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kube-'));
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

const base = {
  kind: 'Config',
  clusters: [{ name: 'c', cluster: { server: 'https://api.example:6443/' } }],
  users: [{ name: 'u', user: { token: 't' } }],
  contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'ns' } }],
  'current-context': 'x',
};

async function write(config: unknown, name = 'config'): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config));
  return path;
}

async function load(config: unknown, context?: string): Promise<ClusterAccess> {
  return loadClusterAccess({ path: await write(config), context });
}

const withUser = (user: object) => ({ ...base, users: [{ name: 'u', user }] });
const withCluster = (cluster: object) => ({ ...base, clusters: [{ name: 'c', cluster }] });

describe('a kubeconfig', () => {
  test('is read', async () => {
    expect(await load(base)).toMatchObject({
      server: 'https://api.example:6443',
      context: 'x',
      namespace: 'ns',
      token: 't',
    });
  });

  test('holds paths relative to itself', async () => {
    await mkdir(join(dir, 'sub'));
    const config = {
      ...withCluster({ server: 'https://a', 'certificate-authority': 'ca.crt' }),
      users: [{ name: 'u', user: { tokenFile: './token' } }],
    };
    const access = loadClusterAccess({ path: await write(config, 'sub/config') });
    expect([access.ca, access.tokenFile]).toEqual([
      { file: join(dir, 'sub/ca.crt') },
      join(dir, 'sub/token'),
    ]);
  });

  test('may be several, of which the first that has an entry wins and absent ones do not matter', async () => {
    const first = await write(
      { contexts: base.contexts, users: [{ name: 'u', user: { token: 'first' } }] },
      'one',
    );
    const second = await write(base, 'two');
    const env = { KUBECONFIG: `${first}:${join(dir, 'absent')}:${second}`, HOME: dir };
    expect(loadClusterAccess({ env })).toMatchObject({ server: 'https://api.example:6443', token: 'first' });
  });

  test('is found in the home directory', async () => {
    await mkdir(join(dir, '.kube'));
    await write(base, '.kube/config');
    expect(loadClusterAccess({ env: { HOME: dir } }).context).toBe('x');
  });

  test('is not needed in a Pod, whose service account serves', async () => {
    await write('t0ken\n', 'token');
    await write('team-a', 'namespace');
    const env = { HOME: dir, KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    const access = loadClusterAccess({ env, serviceAccountDir: dir });
    expect(access).toMatchObject({
      server: 'https://[fd00::1]:443',
      namespace: 'team-a',
      ca: { file: join(dir, 'ca.crt') },
      tokenFile: join(dir, 'token'),
    });
    expect(() => checkStaticCredentials(access, 0)).toThrow(`${join(dir, 'ca.crt')}, which does not exist`);
  });

  test('keeps passwords out of the name of the server', async () => {
    const { server } = await load(withCluster({ server: 'https://admin:hunter2@api.example' }));
    expect(server).toBe('https://api.example');
  });

  test.each([
    ['the context is unknown', base, 'y', 'no context "y" (there are: x)'],
    ['no context is named', { ...base, 'current-context': '' }, undefined, 'current-context is not set'],
    ['the cluster is missing', { ...base, clusters: [] }, undefined, 'names cluster "c", which is missing'],
    ['the user is missing', { ...base, users: [] }, undefined, 'names user "u", which is missing'],
    ['the server is missing', withCluster({}), undefined, 'cluster "c": server is missing'],
    ['the server is no URL', withCluster({ server: 'localhost' }), undefined, 'must be a URL like https://'],
    ['a list is none', { ...base, users: {} }, undefined, 'users must be a list'],
    ['an entry has no name', { ...base, users: [{}] }, undefined, 'users[0].name is missing'],
    ['a key has no certificate', withUser({ 'client-key': 'k' }), undefined, 'must both be given'],
    [
      'data is no PEM',
      withCluster({ server: 'https://a', 'certificate-authority-data': 'eHg=' }),
      undefined,
      'certificate-authority-data must be base64-encoded PEM',
    ],
    ['a plugin has no command', withUser({ exec: {} }), undefined, 'exec.command is missing'],
    ['it is something else', { kind: 'Pod' }, undefined, 'expected a document of kind Config'],
    ['it is empty', '', undefined, 'expected a document of kind Config'],
  ])('is refused in one line where %s', async (_, config, context, message) => {
    const error = await load(config, context).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(KubeconfigError);
    expect(String(error)).toContain(message);
    expect(String(error)).toContain(join(dir, 'config'));
    expect(String(error)).not.toContain('\n');
  });

  test('is refused with the place, and without the text, where it is no YAML', async () => {
    const error = await load('users:\n- token: "s3cret\n').catch((caught: unknown) => String(caught));
    expect(error).toMatch(/config is not valid YAML: line \d+, column \d+$/);
  });

  test('is missed by name', () => {
    const path = join(dir, 'absent');
    expect(() => loadClusterAccess({ path })).toThrow(
      new KubeconfigError(`kubeconfig ${path} does not exist`),
    );
    expect(() => loadClusterAccess({ env: { HOME: dir } })).toThrow(/^no kubeconfig found: /);
  });
});

const credentialOf = (access: ClusterAccess, clock = new ManualClock()) => new Credentials(access, clock);

describe('credentials', () => {
  test('that are files which do not exist are named before anything is sent', async () => {
    const access = await load(withUser({ tokenFile: 'gone' }));
    expect(() => checkStaticCredentials(access, 0)).toThrow(
      new KubeconfigError(`the kubeconfig names ${join(dir, 'gone')}, which does not exist`),
    );
  });

  test('that have run out are named with the time', async () => {
    const { certificate, key } = await clientCertificate({ notAfter: new Date('2025-06-01T00:00:00Z') });
    const access = await load(
      withUser({
        'client-certificate-data': Buffer.from(certificate).toString('base64'),
        'client-key-data': Buffer.from(key).toString('base64'),
      }),
    );
    expect(() => checkStaticCredentials(access, systemClock.now())).toThrow(
      'the client certificate of context "x" expired at 2025-06-01T00:00:00.000Z',
    );
    expect(() => checkStaticCredentials(access, Date.parse('2025-05-31T00:00:00Z'))).not.toThrow();
  });

  test('are read again after a minute', async () => {
    await write('one\n', 'token');
    const clock = new ManualClock();
    const credentials = credentialOf(await load(withUser({ tokenFile: 'token' })), clock);
    const authorization = async () => (await credentials.current()).headers.authorization;
    expect(await authorization()).toBe('Bearer one');
    await write('two\n', 'token');
    expect(await authorization()).toBe('Bearer one');
    await clock.advance(60_000);
    expect(await authorization()).toBe('Bearer two');
  });

  test('keep their connections while the certificate stays the same', async () => {
    const { certificate, key } = await clientCertificate({});
    await write(certificate, 'crt');
    await write(key, 'key');
    const clock = new ManualClock(Date.now());
    const access = await load(withUser({ 'client-certificate': 'crt', 'client-key': 'key' }));
    const credentials = credentialOf(access, clock);
    const first = (await credentials.current()).tls;
    await clock.advance(60_000);
    expect((await credentials.current()).tls).toBe(first);
    await write((await clientCertificate({})).certificate, 'crt');
    await clock.advance(60_000);
    expect((await credentials.current()).tls).not.toBe(first);
  });

  test('may be a name and a password, and another name to act as', async () => {
    const acting = { as: 'you', 'as-uid': '7', 'as-groups': ['a', 'b'] };
    const access = await load(withUser({ username: 'me', password: 'pw', ...acting }));
    expect((await credentialOf(access).current()).headers).toEqual({
      authorization: `Basic ${Buffer.from('me:pw').toString('base64')}`,
      'impersonate-user': 'you',
      'impersonate-uid': '7',
      'impersonate-group': ['a', 'b'],
    });
  });

  test('may come from an auth provider that client-node knows', async () => {
    const idToken = `${'x'.repeat(8)}.${Buffer.from('{"exp":4102444800}').toString('base64url')}.sig`;
    const access = await load(
      withUser({
        'auth-provider': { name: 'oidc', config: { 'id-token': `e30.${idToken.split('.')[1]}.sig` } },
      }),
    );
    const { headers } = await credentialOf(access).current();
    expect(headers.authorization).toMatch(/^Bearer e30\./);
  });
});

/** Whether a process runs; a zombie does not. */
async function isAlive(pid: number): Promise<boolean> {
  try {
    return !/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('a credential plugin', () => {
  const credential = (status: object) =>
    JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status });

  async function plugin(script: string, extra: object = {}): Promise<ClusterAccess> {
    const path = await write(`#!/bin/sh\n${script}\n`, 'plugin');
    await chmod(path, 0o755);
    return await load(
      withUser({ exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin', ...extra } }),
    );
  }

  test('is asked once, and again when what it gave runs out', async () => {
    const clock = new ManualClock(Date.parse('2026-01-01T00:00:00Z'));
    const first = credential({ token: '$N', expirationTimestamp: '2026-01-01T01:00:00Z' }).replaceAll(
      '"',
      '\\"',
    );
    const access = await plugin(`echo x >> ${dir}/count; N=$(wc -l < ${dir}/count); echo "${first}"`);
    const credentials = credentialOf(access, clock);
    const token = async () =>
      (await credentials.current()).headers.authorization?.toString().replaceAll(' ', '');
    expect(await token()).toBe('Bearer1');
    await clock.advance(1_800_000);
    expect(await token()).toBe('Bearer1');
    await clock.advance(1_795_000);
    expect(await token()).toBe('Bearer2');
  });

  test('is told about the cluster where it asks', async () => {
    const access = await plugin(
      `printf '%s' "$KUBERNETES_EXEC_INFO" > ${dir}/info; echo '${credential({ token: 't' })}'`,
      { provideClusterInfo: true, env: [{ name: 'A', value: 'b' }] },
    );
    await credentialOf(access).current();
    const info: unknown = JSON.parse(await readFile(join(dir, 'info'), 'utf8'));
    expect(info).toMatchObject({
      spec: { interactive: false, cluster: { server: 'https://api.example:6443' } },
    });
  });

  test.each([
    ['fails', 'echo s3cret >&2; exit 3', /plugin failed with exit code 3; run it by hand to see why$/],
    ['prints something else', 'echo s3cret', /plugin did not print an ExecCredential$/],
    ['prints nothing of use', `echo '{"status":{}}'`, /plugin printed neither a token nor a certificate$/],
    ['never stops printing', 'exec yes s3cret', /plugin printed more than 1 MiB$/],
  ])('that %s is named in one line', async (_, script, message) => {
    const error = await credentialOf(await plugin(script))
      .current()
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(KubeconfigError);
    expect(String(error)).toMatch(message);
    expect(String(error)).not.toContain('s3cret');
  });

  const pluginOf = (access: ClusterAccess): ExecPlugin => {
    if (access.exec === undefined) throw new Error('no plugin');
    return access.exec;
  };

  test('that takes too long is killed with all that it started', async () => {
    const access = await plugin(`sleep 600 & echo $! > ${dir}/pid; wait`);
    const run = runExecPlugin(pluginOf(access), { ...access, ca: undefined }, 300);
    await expect(run).rejects.toThrow('did not answer within 0.3 s');
    const pid = Number(await readFile(join(dir, 'pid'), 'utf8'));
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  test('that leaves something running is not waited for', async () => {
    const access = await plugin(`sleep 600 & echo $! > ${dir}/pid; echo '${credential({ token: 't' })}'`);
    const { token } = await runExecPlugin(pluginOf(access), { ...access, ca: undefined });
    process.kill(Number(await readFile(join(dir, 'pid'), 'utf8')));
    expect(token).toBe('t');
  });

  test('that is not installed is named, with the hint of who wrote the kubeconfig', async () => {
    const exec = { command: 'no-such-plugin', installHint: 'Install it\nfrom somewhere.' };
    const access = await load(withUser({ exec }));
    await expect(credentialOf(access).current()).rejects.toThrow(
      'credential plugin no-such-plugin is not installed: Install it from somewhere.',
    );
  });
});
