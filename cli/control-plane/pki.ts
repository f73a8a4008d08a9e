import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
// @peculiar/x509 needs this polyfill to be loaded before it.
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { makePrivateDirectory, writeFileAtomic } from './files.ts';

/** Files of the control plane's keys and certificates; all readable by their owner only. */
export interface Pki {
  readonly caCertificate: string;
  readonly servingCertificate: string;
  readonly servingKey: string;
  readonly adminCertificate: string;
  readonly adminKey: string;
  readonly serviceAccountKey: string;
  readonly serviceAccountPublicKey: string;
}

export interface PkiOptions {
  readonly dir: string;
  /** DNS names and IP addresses under which the API server is reached. */
  readonly addresses: readonly string[];
  readonly now: Date;
}

const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const LEAF_DAYS = 365;
/** A certificate with less than this left is made anew. */
const RENEW_BEFORE_DAYS = 60;
/** Clocks of clients may be behind ours. */
const BACKDATE_MS = 5 * 60_000;

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

interface KeyAndCertificate {
  readonly key: webcrypto.CryptoKey;
  readonly certificate: x509.X509Certificate;
}

/**
 * Makes what is missing, near its expiry, signed by another CA or valid for other addresses, and keeps the
 * rest: a kubeconfig that was handed out stays good over restarts.
 */
export async function ensurePki(options: PkiOptions): Promise<Pki> {
  x509.cryptoProvider.set(webcrypto);
  const pki = pkiFiles(options.dir);
  await makePrivateDirectory(options.dir);
  const ca = await ensureCa(join(options.dir, 'ca.key'), pki.caCertificate, options.now);
  await ensureLeaf(ca, options.now, {
    key: pki.servingKey,
    certificate: pki.servingCertificate,
    subject: 'CN=kube-apiserver',
    usage: x509.ExtendedKeyUsage.serverAuth,
    addresses: options.addresses,
  });
  await ensureLeaf(ca, options.now, {
    key: pki.adminKey,
    certificate: pki.adminCertificate,
    subject: 'O=system:masters, CN=shoes-vz-admin',
    usage: x509.ExtendedKeyUsage.clientAuth,
    addresses: [],
  });
  await ensureServiceAccountKey(pki);
  return pki;
}

const pkiFiles = (dir: string): Pki => ({
  caCertificate: join(dir, 'ca.crt'),
  servingCertificate: join(dir, 'serving.crt'),
  servingKey: join(dir, 'serving.key'),
  adminCertificate: join(dir, 'admin.crt'),
  adminKey: join(dir, 'admin.key'),
  serviceAccountKey: join(dir, 'service-account.key'),
  serviceAccountPublicKey: join(dir, 'service-account.pub'),
});

async function ensureCa(keyFile: string, certificateFile: string, now: Date): Promise<KeyAndCertificate> {
  const stored = await load(keyFile, certificateFile);
  if (stored !== undefined && isFresh(stored.certificate, now)) return stored;
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=shoes-vz-ca',
    ...validity(now, CA_DAYS),
    keys,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await save(keyFile, certificateFile, keys.privateKey, certificate);
  return { key: keys.privateKey, certificate };
}

interface Leaf {
  readonly key: string;
  readonly certificate: string;
  readonly subject: string;
  readonly usage: x509.ExtendedKeyUsage;
  readonly addresses: readonly string[];
}

async function ensureLeaf(ca: KeyAndCertificate, now: Date, leaf: Leaf): Promise<void> {
  const stored = await load(leaf.key, leaf.certificate);
  if (stored !== undefined && (await isGoodLeaf(stored.certificate, ca, now, leaf))) return;
  const keys = await generateKeys();
  const names = leaf.addresses.map(generalName);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: leaf.subject,
    issuer: ca.certificate.subject,
    ...validity(now, LEAF_DAYS),
    publicKey: keys.publicKey,
    signingKey: ca.key,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([leaf.usage]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.certificate),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  await save(leaf.key, leaf.certificate, keys.privateKey, certificate);
}

async function isGoodLeaf(
  certificate: x509.X509Certificate,
  ca: KeyAndCertificate,
  now: Date,
  leaf: Leaf,
): Promise<boolean> {
  if (!isFresh(certificate, now)) return false;
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const has = (address: string): boolean => {
    const wanted = generalName(address);
    return names.some((name) => name.type === wanted.type && name.value === wanted.value);
  };
  if (names.length !== leaf.addresses.length || !leaf.addresses.every(has)) return false;
  return await certificate.verify({ publicKey: ca.certificate.publicKey, signatureOnly: true });
}

async function ensureServiceAccountKey(pki: Pki): Promise<void> {
  const stored = await readFile(pki.serviceAccountKey, 'utf8').catch(() => undefined);
  const storedPublic = await readFile(pki.serviceAccountPublicKey, 'utf8').catch(() => undefined);
  if (stored !== undefined && storedPublic !== undefined) return;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFileAtomic(
    pki.serviceAccountPublicKey,
    publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  );
  await writeFileAtomic(
    pki.serviceAccountKey,
    privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  );
}

const generateKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify']);

/** Positive and unique, as RFC 5280 wants a serial number. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

const validity = (now: Date, days: number) => ({
  notBefore: new Date(now.getTime() - BACKDATE_MS),
  notAfter: new Date(now.getTime() + days * DAY_MS),
});

const isFresh = (certificate: x509.X509Certificate, now: Date): boolean =>
  certificate.notBefore <= now && certificate.notAfter.getTime() - now.getTime() > RENEW_BEFORE_DAYS * DAY_MS;

const generalName = (address: string): x509.GeneralName =>
  new x509.GeneralName(isIP(address) === 0 ? 'dns' : 'ip', address);

/** The stored pair; undefined where a part is missing or unreadable or the two do not belong together. */
async function load(keyFile: string, certificateFile: string): Promise<KeyAndCertificate | undefined> {
  try {
    const certificate = new x509.X509Certificate(await readFile(certificateFile, 'utf8'));
    const der = x509.PemConverter.decodeFirst(await readFile(keyFile, 'utf8'));
    const key = await webcrypto.subtle.importKey('pkcs8', der, KEY_ALGORITHM, true, ['sign']);
    const probe = new TextEncoder().encode('the key belongs to the certificate');
    const signature = await webcrypto.subtle.sign(KEY_ALGORITHM, key, probe);
    const publicKey = await certificate.publicKey.export(KEY_ALGORITHM, ['verify']);
    const matches = await webcrypto.subtle.verify(KEY_ALGORITHM, publicKey, signature, probe);
    return matches ? { key, certificate } : undefined;
  } catch {
    return undefined;
  }
}

async function save(
  keyFile: string,
  certificateFile: string,
  key: webcrypto.CryptoKey,
  certificate: x509.X509Certificate,
): Promise<void> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  await writeFileAtomic(keyFile, `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`);
  await writeFileAtomic(certificateFile, `${certificate.toString('pem')}\n`);
}
