import { webcrypto } from 'node:crypto';
// @peculiar/x509 needs this polyfill to be loaded before it.
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** A certificate with its private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateOptions {
  readonly name?: string | undefined;
  readonly notAfter?: Date | undefined;
  readonly issuer?: CertificateAuthority | undefined;
}

/** A certificate authority for tests. */
export class CertificateAuthority {
  readonly certificate: X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;

  constructor(certificate: X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.certificate = certificate;
    this.keys = keys;
  }

  static async create(): Promise<CertificateAuthority> {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      name: 'CN=test-ca',
      ...validity(undefined),
      keys,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      ],
    });
    return new CertificateAuthority(certificate, keys);
  }

  get pem(): string {
    return this.certificate.toString('pem');
  }
}

/** A certificate for a client, or for a server of the DNS name `name`. */
export async function clientCertificate(options: CertificateOptions): Promise<KeyPair> {
  const issuer = options.issuer ?? (await CertificateAuthority.create());
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const name = options.name ?? 'client';
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: issuer.certificate.subject,
    ...validity(options.notAfter),
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
  });
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { certificate: certificate.toString('pem'), key: PemConverter.encode(key, 'PRIVATE KEY') };
}

function validity(notAfter: Date | undefined): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: notAfter ?? new Date(Date.now() + 3_600_000),
  };
}
