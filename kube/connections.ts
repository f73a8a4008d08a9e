import { Agent, type Dispatcher, EnvHttpProxyAgent, ProxyAgent, Socks5ProxyAgent } from 'undici';
import type { TlsMaterial } from './credentials.ts';
import type { ClusterAccess } from './kubeconfig.ts';

/** An idle connection outlives the ten seconds between two renewals of a Lease. */
const IDLE_CONNECTION_MS = 45_000;
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * A pool of connections to the API server, by way of the proxy that the kubeconfig or the environment names. At
 * most `connections` at once; undefined: as many as there are requests.
 */
export function createDispatcher(
  access: ClusterAccess,
  tls: TlsMaterial,
  connections: number | undefined,
): Dispatcher {
  const requestTls = {
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.certificate !== undefined && { cert: tls.certificate }),
    ...(tls.key !== undefined && { key: tls.key }),
    ...(access.tlsServerName !== undefined && { servername: access.tlsServerName }),
    ...(access.insecureSkipTlsVerify && { rejectUnauthorized: false }),
  };
  const socket = { keepAlive: true, keepAliveInitialDelay: 15_000, timeout: CONNECT_TIMEOUT_MS };
  const pool = {
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: IDLE_CONNECTION_MS,
    keepAliveMaxTimeout: IDLE_CONNECTION_MS,
    ...(connections !== undefined && { connections }),
  };
  if (access.proxyUrl?.startsWith('socks')) {
    return new Socks5ProxyAgent(access.proxyUrl, { ...pool, requestTls });
  }
  if (access.proxyUrl !== undefined) return new ProxyAgent({ ...pool, uri: access.proxyUrl, requestTls });
  if (isLoopback(new URL(access.server).hostname) || !hasProxyEnvironment()) {
    return new Agent({ ...pool, connect: { ...requestTls, ...socket } });
  }
  return new EnvHttpProxyAgent({ ...pool, requestTls, connect: { ...requestTls, ...socket } });
}

function hasProxyEnvironment(): boolean {
  return ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].some(
    (name) => (process.env[name] ?? '') !== '',
  );
}

/** As for kubectl, a proxy from the environment is never used for this machine itself. */
function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}
