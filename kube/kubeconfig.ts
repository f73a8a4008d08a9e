import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { KubeconfigError } from './errors.ts';

/** PEM text, or the file that holds it. */
export type PemSource = { readonly data: string } | { readonly file: string };

/** A credential plugin (client.authentication.k8s.io). */
export interface ExecPlugin {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly provideClusterInfo: boolean;
  readonly installHint?: string | undefined;
}

/** How a cluster is reached and who one is there, from one context of a kubeconfig. Paths are absolute. */
export interface ClusterAccess {
  /** Where this was read, for error messages. */
  readonly origin: string;
  readonly context: string;
  /** URL without a trailing slash and without credentials. */
  readonly server: string;
  readonly namespace: string | undefined;
  readonly ca: PemSource | undefined;
  readonly tlsServerName: string | undefined;
  readonly insecureSkipTlsVerify: boolean;
  readonly proxyUrl: string | undefined;
  readonly clientCertificate: PemSource | undefined;
  readonly clientKey: PemSource | undefined;
  readonly token: string | undefined;
  readonly tokenFile: string | undefined;
  readonly basic: { readonly username: string; readonly password: string } | undefined;
  /** Whom to act as: user, UID and groups. */
  readonly impersonate:
    | { readonly user: string; readonly uid: string | undefined; readonly groups: readonly string[] }
    | undefined;
  readonly exec: ExecPlugin | undefined;
  /** A legacy auth provider (oidc, gcp, azure): its name, and the entry that configures it. */
  readonly authProvider: { readonly name: string; readonly user: string; readonly file: string } | undefined;
}

export interface KubeconfigLocation {
  /** Default: KUBECONFIG, then ~/.kube/config, then the Pod's service account. */
  readonly path?: string | undefined;
  /** Default: current-context. */
  readonly context?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Where a Pod finds its service account. Default: Kubernetes' standard path. */
  readonly serviceAccountDir?: string | undefined;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

type Fields = Readonly<Record<string, unknown>>;
type Entry = { readonly origin: string; readonly fields: Fields };

interface Merged {
  readonly origin: string;
  readonly files: readonly string[];
  readonly currentContext: string | undefined;
  readonly clusters: ReadonlyMap<string, Entry>;
  readonly users: ReadonlyMap<string, Entry>;
  readonly contexts: ReadonlyMap<string, Entry>;
}

/** Reads the kubeconfig. Throws {@link KubeconfigError} naming file, entry and what would be right. */
export function loadClusterAccess(location: KubeconfigLocation): ClusterAccess {
  const env = location.env ?? process.env;
  const files = kubeconfigFiles(location.path, env);
  if (files.length === 0) {
    const inCluster = inClusterAccess(env, location.serviceAccountDir ?? SERVICE_ACCOUNT);
    if (inCluster !== undefined) return inCluster;
    throw new KubeconfigError(
      'no kubeconfig found: give its path, set KUBECONFIG, or put one at ~/.kube/config',
    );
  }
  return resolveContext(merge(files), location.context);
}

/** Files to merge, in order of precedence, as kubectl finds them. */
function kubeconfigFiles(path: string | undefined, env: NodeJS.ProcessEnv): readonly string[] {
  if (path !== undefined) return [resolve(path)];
  const listed = (env.KUBECONFIG ?? '').split(delimiter).filter((entry) => entry !== '');
  if (listed.length > 0) return listed.map((entry) => resolve(entry));
  const standard = join(env.HOME ?? homedir(), '.kube', 'config');
  return exists(standard) ? [standard] : [];
}

function exists(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ENOENT');
  }
}

function inClusterAccess(env: NodeJS.ProcessEnv, dir: string): ClusterAccess | undefined {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT;
  if (!host || !port || !exists(`${dir}/token`)) return undefined;
  let namespace: string | undefined;
  try {
    namespace = readFileSync(`${dir}/namespace`, 'utf8').trim();
  } catch {
    namespace = undefined;
  }
  return {
    origin: 'the service account of this Pod',
    context: 'in-cluster',
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace,
    ca: { file: `${dir}/ca.crt` },
    tlsServerName: undefined,
    insecureSkipTlsVerify: false,
    proxyUrl: undefined,
    clientCertificate: undefined,
    clientKey: undefined,
    token: undefined,
    tokenFile: `${dir}/token`,
    basic: undefined,
    impersonate: undefined,
    exec: undefined,
    authProvider: undefined,
  };
}

/** As kubectl merges: the first file that has an entry wins; of several files, absent ones are skipped. */
function merge(files: readonly string[]): Merged {
  const clusters = new Map<string, Entry>();
  const users = new Map<string, Entry>();
  const contexts = new Map<string, Entry>();
  let currentContext: string | undefined;
  for (const file of files) {
    const config = readConfig(file, files.length > 1);
    if (config === undefined) continue;
    collect(file, config, 'clusters', 'cluster', clusters);
    collect(file, config, 'users', 'user', users);
    collect(file, config, 'contexts', 'context', contexts);
    currentContext ??= text(config['current-context']);
  }
  return { origin: files.join(', '), files, currentContext, clusters, users, contexts };
}

function readConfig(file: string, mayBeAbsent: boolean): Fields | undefined {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT' && mayBeAbsent) return undefined;
    throw new KubeconfigError(
      code === 'ENOENT' ? `kubeconfig ${file} does not exist` : `kubeconfig ${file} cannot be read (${code})`,
    );
  }
  let parsed: unknown;
  try {
    parsed = parse(content);
  } catch (error) {
    // The parser's message quotes lines of the file, which hold credentials: only the place is told.
    throw new KubeconfigError(`kubeconfig ${file} is not valid YAML${place(error)}`);
  }
  if (!isFields(parsed) || (parsed.kind !== undefined && parsed.kind !== 'Config')) {
    throw new KubeconfigError(`kubeconfig ${file} is not a kubeconfig: expected a document of kind Config`);
  }
  return parsed;
}

function place(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('linePos' in error)) return '';
  const [start] = Array.isArray(error.linePos) ? error.linePos : [];
  return isFields(start) ? `: line ${String(start.line)}, column ${String(start.col)}` : '';
}

function collect(file: string, config: Fields, list: string, key: string, into: Map<string, Entry>): void {
  const entries = config[list] ?? [];
  if (!Array.isArray(entries)) throw new KubeconfigError(`kubeconfig ${file}: ${list} must be a list`);
  for (const [index, entry] of entries.entries()) {
    const name = isFields(entry) ? text(entry.name) : undefined;
    if (name === undefined)
      throw new KubeconfigError(`kubeconfig ${file}: ${list}[${index}].name is missing`);
    const fields = isFields(entry) && isFields(entry[key]) ? entry[key] : {};
    if (!into.has(name)) into.set(name, { origin: file, fields });
  }
}

function resolveContext(config: Merged, wanted: string | undefined): ClusterAccess {
  const name = wanted ?? config.currentContext;
  if (name === undefined || name === '') {
    throw new KubeconfigError(`kubeconfig ${config.origin}: current-context is not set; name a context`);
  }
  const context = config.contexts.get(name);
  if (context === undefined) {
    throw new KubeconfigError(
      `kubeconfig ${config.origin}: no context "${name}" (there are: ${[...config.contexts.keys()].join(', ') || 'none'})`,
    );
  }
  const clusterName = text(context.fields.cluster) ?? '';
  const cluster = config.clusters.get(clusterName);
  if (cluster === undefined) {
    throw new KubeconfigError(
      `kubeconfig ${context.origin}: context "${name}" names cluster "${clusterName}", which is missing`,
    );
  }
  const userName = text(context.fields.user) ?? '';
  const user = config.users.get(userName);
  if (user === undefined && userName !== '') {
    throw new KubeconfigError(
      `kubeconfig ${context.origin}: context "${name}" names user "${userName}", which is missing`,
    );
  }
  return {
    origin: `kubeconfig ${config.origin}`,
    context: name,
    namespace: text(context.fields.namespace),
    ...clusterFields(cluster, clusterName),
    ...userFields(user ?? { origin: config.origin, fields: {} }, userName),
  };
}

function clusterFields(cluster: Entry, name: string) {
  const { fields, origin } = cluster;
  const where = `kubeconfig ${origin}: cluster "${name}"`;
  return {
    server: serverUrl(where, text(fields.server)),
    ca: pem(where, cluster, 'certificate-authority'),
    tlsServerName: text(fields['tls-server-name']),
    insecureSkipTlsVerify: fields['insecure-skip-tls-verify'] === true,
    proxyUrl: text(fields['proxy-url']),
  };
}

function serverUrl(where: string, server: string | undefined): string {
  if (server === undefined) throw new KubeconfigError(`${where}: server is missing`);
  const url = URL.parse(server);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new KubeconfigError(`${where}: server must be a URL like https://host:6443`);
  }
  return `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
}

function userFields(user: Entry, name: string) {
  const { fields, origin } = user;
  const where = `kubeconfig ${origin}: user "${name}"`;
  const username = text(fields.username);
  const tokenFile = text(fields.tokenFile);
  const provider = fields['auth-provider'];
  const certificate = pem(where, user, 'client-certificate');
  const key = pem(where, user, 'client-key');
  if ((certificate === undefined) !== (key === undefined)) {
    throw new KubeconfigError(`${where}: client-certificate and client-key must both be given`);
  }
  return {
    clientCertificate: certificate,
    clientKey: key,
    token: text(fields.token),
    tokenFile: tokenFile === undefined ? undefined : resolve(dirname(origin), tokenFile),
    basic: username === undefined ? undefined : { username, password: text(fields.password) ?? '' },
    impersonate: impersonation(fields),
    exec: isFields(fields.exec) ? execPlugin(where, origin, fields.exec) : undefined,
    authProvider: isFields(provider)
      ? { name: text(provider.name) ?? '', user: name, file: origin }
      : undefined,
  };
}

function impersonation(fields: Fields): ClusterAccess['impersonate'] {
  const user = text(fields.as);
  if (user === undefined) return undefined;
  const groups = Array.isArray(fields['as-groups']) ? fields['as-groups'].map(String) : [];
  return { user, uid: text(fields['as-uid']), groups };
}

function execPlugin(where: string, origin: string, exec: Fields): ExecPlugin {
  const command = text(exec.command);
  if (command === undefined) throw new KubeconfigError(`${where}: exec.command is missing`);
  const env: Record<string, string> = {};
  for (const variable of Array.isArray(exec.env) ? exec.env : []) {
    if (isFields(variable)) env[String(variable.name)] = String(variable.value ?? '');
  }
  return {
    apiVersion: text(exec.apiVersion) ?? 'client.authentication.k8s.io/v1',
    command: command.includes('/') ? resolve(dirname(origin), command) : command,
    args: Array.isArray(exec.args) ? exec.args.map(String) : [],
    env,
    provideClusterInfo: exec.provideClusterInfo === true,
    installHint: text(exec.installHint),
  };
}

/** `<key>-data` (base64) wins over `<key>` (a path, relative to the kubeconfig), as in kubectl. */
function pem(where: string, entry: Entry, key: string): PemSource | undefined {
  const data = text(entry.fields[`${key}-data`]);
  if (data !== undefined) {
    const decoded = Buffer.from(data, 'base64').toString('latin1');
    if (!decoded.includes('-----BEGIN ')) {
      throw new KubeconfigError(`${where}: ${key}-data must be base64-encoded PEM`);
    }
    return { data: decoded };
  }
  const file = text(entry.fields[key]);
  return file === undefined ? undefined : { file: resolve(dirname(entry.origin), file) };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
