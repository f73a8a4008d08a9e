import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { ServerOptions } from 'node:https';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { loadKubeClient } from './client.ts';
import { CertificateAuthority, clientCertificate } from './testing/certificates.ts';
import { TestServer } from './testing/http-server.ts';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const base64 = (text: string) => Buffer.from(text).toString('base64');

async function connect(tls: ServerOptions, ca: string, cluster: object = {}, user: object = {}) {
  const server = await TestServer.start((_, response) => {
    response.end('{"major":"1","minor":"36","gitVersion":"v1.36.2"}');
  }, tls);
  cleanups.push(() => server.close());
  const dir = await mkdtemp(join(tmpdir(), 'kube-'));
  cleanups.push(() => rm(dir, { recursive: true }));
  const kubeconfigPath = join(dir, 'config');
  const config = {
    clusters: [
      { name: 'c', cluster: { server: server.url, 'certificate-authority-data': base64(ca), ...cluster } },
    ],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(kubeconfigPath, JSON.stringify(config));
  const client = loadKubeClient({ kubeconfigPath, userAgent: 'test/1' });
  cleanups.push(() => client.close());
  return { client, server };
}

async function serverTls(ca: CertificateAuthority, options: { name?: string; notAfter?: Date } = {}) {
  const { certificate, key } = await clientCertificate({ name: 'localhost', ...options, issuer: ca });
  return { cert: certificate, key };
}

describe('TLS', () => {
  test("works with the kubeconfig's authority", async () => {
    const ca = await CertificateAuthority.create();
    const { client } = await connect(await serverTls(ca), ca.pem);
    expect(await client.version()).toEqual({ major: '1', minor: '36', gitVersion: 'v1.36.2' });
  });

  test('expects the name that the kubeconfig gives', async () => {
    const ca = await CertificateAuthority.create();
    const tls = await serverTls(ca, { name: 'api.internal' });
    const { client } = await connect(tls, ca.pem, { 'tls-server-name': 'api.internal' });
    await expect(client.version()).resolves.toBeDefined();
  });

  test('presents the client certificate', async () => {
    const ca = await CertificateAuthority.create();
    const own = await clientCertificate({ issuer: ca });
    const user = { 'client-certificate-data': base64(own.certificate), 'client-key-data': base64(own.key) };
    const tls = { ...(await serverTls(ca)), ca: ca.pem, requestCert: true, rejectUnauthorized: true };
    const { client } = await connect(tls, ca.pem, {}, user);
    await expect(client.version()).resolves.toBeDefined();
  });

  test.each([
    ['of another authority', {}, "certificate is not signed by the kubeconfig's certificate authority"],
    ['for another host', { name: 'elsewhere' }, 'certificate is for another host name'],
    ['that has expired', { notAfter: new Date('2025-01-01') }, 'certificate has expired'],
  ])('names a server certificate %s', async (what, options, message) => {
    const ca = await CertificateAuthority.create();
    const trusted = what === 'of another authority' ? await CertificateAuthority.create() : ca;
    const { client, server } = await connect(await serverTls(ca, options), trusted.pem);
    await expect(client.version()).rejects.toMatchObject({
      reason: 'Tls',
      message: `cannot reach the API server at ${server.url}: the server's ${message}`,
    });
  });

  test('names a server that does not speak it', async () => {
    const plain = await TestServer.start((_, response) => response.end());
    cleanups.push(() => plain.close());
    const ca = await CertificateAuthority.create();
    const { client } = await connect(await serverTls(ca), ca.pem, {
      server: plain.url.replace('http:', 'https:'),
    });
    await expect(client.version()).rejects.toMatchObject({ reason: 'Tls' });
  });
});

/** A proxy as companies have them: it tunnels, and knows only the names of hosts. */
async function tunnel(): Promise<{ url: string; tunnelled: string[] }> {
  const tunnelled: string[] = [];
  const proxy = createServer();
  proxy.on('connect', (request, client) => {
    tunnelled.push(request.url ?? '');
    const [, port] = (request.url ?? '').split(':');
    const server = connectTcp(Number(port), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(server).pipe(client);
    });
    for (const socket of [client, server]) socket.on('error', () => undefined);
    client.on('close', () => server.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => proxy.close(resolve)));
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, tunnelled };
}

describe('a proxy', () => {
  test('of the kubeconfig is used, with the client certificate inside the tunnel', async () => {
    const ca = await CertificateAuthority.create();
    const own = await clientCertificate({ issuer: ca });
    const user = { 'client-certificate-data': base64(own.certificate), 'client-key-data': base64(own.key) };
    const tls = { ...(await serverTls(ca)), ca: ca.pem, requestCert: true, rejectUnauthorized: true };
    const { url, tunnelled } = await tunnel();
    const { client } = await connect(tls, ca.pem, { 'proxy-url': url }, user);
    await expect(client.version()).resolves.toBeDefined();
    expect(tunnelled).toEqual([expect.stringMatching(/^localhost:\d+$/)]);
  });

  test('of the environment is used for other machines, and never for this one', async () => {
    const ca = await CertificateAuthority.create();
    const { url, tunnelled } = await tunnel();
    vi.stubEnv('HTTPS_PROXY', url);
    vi.stubEnv('NO_PROXY', '');
    vi.stubEnv('no_proxy', '');
    try {
      const own = await clientCertificate({ issuer: ca });
      const user = { 'client-certificate-data': base64(own.certificate), 'client-key-data': base64(own.key) };
      const requiring = { ca: ca.pem, requestCert: true, rejectUnauthorized: true };
      const near = await connect({ ...(await serverTls(ca)), ...requiring }, ca.pem, {}, user);
      await near.client.version();
      expect(tunnelled).toEqual([]);
      // The tunnel leads to the same server, whose certificate is for another name.
      const { port } = new URL(near.server.url);
      const far = await connect({}, ca.pem, { server: `https://api.internal:${port}` }, user);
      await expect(far.client.version()).rejects.toMatchObject({ reason: 'Tls' });
      expect(tunnelled).toEqual([`api.internal:${port}`]);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
