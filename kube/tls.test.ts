import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
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
