import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensurePki, type Pki } from './pki.ts';

const DAY_MS = 86_400_000;
const NOW = new Date('2026-06-01T12:00:00Z');
const inDays = (days: number): Date => new Date(NOW.getTime() + days * DAY_MS);

describe('ensurePki', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'pki-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const ensure = (now = NOW, addresses = ['127.0.0.1', 'localhost']) => ensurePki({ dir, addresses, now });
  const certificate = async (path: string) => new X509Certificate(await readFile(path));
  const contents = async (pki: Pki) =>
    Object.fromEntries(
      await Promise.all(
        Object.entries(pki).map(async ([name, path]) => [name, await readFile(path, 'utf8')]),
      ),
    ) as Record<keyof Pki, string>;

  it('makes a chain for server and administrator, readable by the owner only', async () => {
    const pki = await ensure();
    const ca = await certificate(pki.caCertificate);
    const serving = await certificate(pki.servingCertificate);
    const admin = await certificate(pki.adminCertificate);
    expect(ca.ca).toBe(true);
    for (const leaf of [serving, admin]) {
      expect(leaf.verify(ca.publicKey)).toBe(true);
      expect(leaf.checkIssued(ca)).toBe(true);
      expect(leaf.ca).toBe(false);
    }
    expect(serving.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(serving.checkHost('localhost')).toBe('localhost');
    expect(serving.checkIP('127.77.0.1')).toBeUndefined();
    expect(admin.subject).toContain('O=system:masters');
    expect(admin.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    for (const path of [...Object.values(pki), join(dir, 'ca.key')]) {
      expect((await stat(path)).mode & 0o777, path).toBe(0o600);
    }
  });

  it('keeps everything as long as it is good', async () => {
    const before = await contents(await ensure());
    expect(await contents(await ensure(inDays(300)))).toEqual(before);
  });

  it('renews certificates before they expire, under the same CA and service account key', async () => {
    const before = await contents(await ensure());
    const pki = await ensure(inDays(310));
    const after = await contents(pki);
    expect(after.caCertificate).toBe(before.caCertificate);
    expect(after.serviceAccountKey).toBe(before.serviceAccountKey);
    for (const name of ['servingCertificate', 'servingKey', 'adminCertificate', 'adminKey'] as const) {
      expect(after[name], name).not.toBe(before[name]);
    }
    expect(new Date((await certificate(pki.servingCertificate)).validTo).getTime()).toBe(
      inDays(310 + 365).getTime(),
    );
  });

  it('renews the CA and what it signed before the CA expires', async () => {
    const before = await contents(await ensure());
    const pki = await ensure(inDays(3600));
    const ca = await certificate(pki.caCertificate);
    expect(await readFile(pki.caCertificate, 'utf8')).not.toBe(before.caCertificate);
    expect((await certificate(pki.adminCertificate)).verify(ca.publicKey)).toBe(true);
  });

  it('makes only the serving certificate anew when addresses change', async () => {
    const before = await contents(await ensure());
    const pki = await ensure(NOW, ['127.77.0.1', 'fd00::1', 'localhost']);
    const after = await contents(pki);
    expect((await certificate(pki.servingCertificate)).checkIP('fd00::1')).toBe('fd00::1');
    expect(after).toEqual({
      ...before,
      servingCertificate: after.servingCertificate,
      servingKey: after.servingKey,
    });
    expect(after.servingKey).not.toBe(before.servingKey);
  });

  it.each(['garbage', ''])('replaces a key file that holds %j', async (garbage) => {
    const { adminKey, adminCertificate } = await ensure();
    const before = await readFile(adminCertificate, 'utf8');
    await writeFile(adminKey, garbage);
    await ensure();
    expect(await readFile(adminKey, 'utf8')).toContain('PRIVATE KEY');
    expect(await readFile(adminCertificate, 'utf8')).not.toBe(before);
  });

  it('replaces a pair that does not belong together, as a crash between two writes leaves it', async () => {
    const pki = await ensure();
    await writeFile(pki.servingKey, await readFile(pki.adminKey));
    await ensure();
    const serving = await certificate(pki.servingCertificate);
    expect(serving.checkPrivateKey(createPrivateKey(await readFile(pki.servingKey)))).toBe(true);
  });
});
