import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Clock } from './clock.ts';
import { KubeconfigError } from './errors.ts';
import { type ExecCredential, runExecPlugin } from './exec-plugin.ts';
import type { ClusterAccess, PemSource } from './kubeconfig.ts';

/** PEM texts of one TLS identity. Two of equal content are the same object. */
export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

/** What one request is sent with. */
export interface Credential {
  readonly tls: TlsMaterial;
  readonly headers: Readonly<Record<string, string | string[]>>;
}

/** How long files and provider tokens are trusted before they are read again; client-go takes as long. */
const REREAD_MS = 60_000;
/** How long before its end a plugin's credential is fetched anew. */
const EXPIRY_MARGIN_MS = 10_000;

/**
 * The credentials of one kubeconfig context, kept fresh: files are read again every minute, so that rotated
 * tokens and certificates are taken up, and plugins are asked when theirs run out or were refused. Throws
 * {@link KubeconfigError}.
 */
export class Credentials {
  readonly #access: ClusterAccess;
  readonly #clock: Clock;
  #current: Credential | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #exec: ExecCredential | undefined;
  #pending: Promise<Credential> | undefined;

  constructor(access: ClusterAccess, clock: Clock) {
    this.#access = access;
    this.#clock = clock;
  }

  async current(): Promise<Credential> {
    const fresh = this.#clock.monotonic() - this.#readAt < REREAD_MS && !this.#execExpired();
    if (fresh && this.#current !== undefined) return this.#current;
    this.#pending ??= this.#read().finally(() => {
      this.#pending = undefined;
    });
    return await this.#pending;
  }

  /** The server refused these credentials (401): the next request reads them anew. */
  invalidate(refused: Credential): void {
    if (refused !== this.#current) return;
    this.#current = undefined;
    this.#exec = undefined;
  }

  #execExpired(): boolean {
    const end = this.#exec?.expiresAt;
    return end !== undefined && this.#clock.now() >= end - EXPIRY_MARGIN_MS;
  }

  async #read(): Promise<Credential> {
    const access = this.#access;
    const ca = await readPem(access.ca);
    const headers: Record<string, string | string[]> = {};
    let certificate = await readPem(access.clientCertificate);
    let key = await readPem(access.clientKey);
    if (certificate !== undefined) refuseExpired(access, certificate, this.#clock.now());
    if (access.exec !== undefined) {
      if (this.#exec === undefined || this.#execExpired()) {
        this.#exec = await runExecPlugin(access.exec, { ...access, ca });
      }
      certificate = this.#exec.certificate ?? certificate;
      key = this.#exec.key ?? key;
    }
    const authorization = await this.#authorization();
    if (authorization !== undefined) headers.authorization = authorization;
    if (access.impersonate !== undefined) {
      const { user, uid, groups } = access.impersonate;
      headers['impersonate-user'] = user;
      if (uid !== undefined) headers['impersonate-uid'] = uid;
      if (groups.length > 0) headers['impersonate-group'] = [...groups];
    }
    this.#readAt = this.#clock.monotonic();
    this.#current = { tls: sameOrNew(this.#current?.tls, { ca, certificate, key }), headers };
    return this.#current;
  }

  async #authorization(): Promise<string | undefined> {
    const { access, token } = { access: this.#access, token: this.#exec?.token };
    if (access.tokenFile !== undefined) return `Bearer ${(await readText(access.tokenFile)).trim()}`;
    if (access.token !== undefined) return `Bearer ${access.token}`;
    if (token !== undefined) return `Bearer ${token}`;
    if (access.basic !== undefined) {
      const { username, password } = access.basic;
      return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    }
    return access.authProvider === undefined ? undefined : await providerAuthorization(access.authProvider);
  }
}

/** Fails early, and with one clear line, on credentials that are missing or have run out. */
export function checkStaticCredentials(access: ClusterAccess, nowMs: number): void {
  for (const source of [access.ca, access.clientKey, access.clientCertificate]) {
    if (source !== undefined && 'file' in source) readOrExplain(source.file);
  }
  if (access.tokenFile !== undefined) readOrExplain(access.tokenFile);
  const source = access.clientCertificate;
  if (source === undefined) return;
  refuseExpired(access, 'data' in source ? source.data : readOrExplain(source.file), nowMs);
}

function readOrExplain(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): KubeconfigError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
  return new KubeconfigError(
    code === 'ENOENT'
      ? `the kubeconfig names ${file}, which does not exist`
      : `the kubeconfig names ${file}, which cannot be read (${code})`,
  );
}

function refuseExpired(access: ClusterAccess, pem: string, nowMs: number): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    throw new KubeconfigError(
      `${access.origin}: the client certificate of context "${access.context}" is not PEM`,
    );
  }
  const end = Date.parse(certificate.validTo);
  if (nowMs <= end) return;
  throw new KubeconfigError(
    `${access.origin}: the client certificate of context "${access.context}" expired at ${new Date(end).toISOString()}`,
  );
}

async function readPem(source: PemSource | undefined): Promise<string | undefined> {
  if (source === undefined) return undefined;
  return 'data' in source ? source.data : await readText(source.file);
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

function sameOrNew(old: TlsMaterial | undefined, next: TlsMaterial): TlsMaterial {
  const same = old?.ca === next.ca && old?.certificate === next.certificate && old?.key === next.key;
  return same && old !== undefined ? old : next;
}

/**
 * Legacy auth providers are left to client-node, which refreshes their tokens. It is loaded only here: its
 * generated models cost 60 MB and 0.2 s.
 */
async function providerAuthorization(
  provider: NonNullable<ClusterAccess['authProvider']>,
): Promise<string | undefined> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  const headers: Record<string, string> = {};
  try {
    config.loadFromFile(provider.file);
    const user = config.getUser(provider.user);
    if (user === null) throw new Error('the user has gone');
    const cluster = { name: 'cluster', server: 'https://unused.invalid', skipTLSVerify: false };
    config.loadFromClusterAndUser(cluster, user);
    await config.applyToHTTPSOptions({ headers });
  } catch (error) {
    throw new KubeconfigError(
      `kubeconfig ${provider.file}: auth provider "${provider.name}" of user "${provider.user}" failed`,
      { cause: error },
    );
  }
  return headers.Authorization;
}
