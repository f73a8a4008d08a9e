import { spawn } from 'node:child_process';
import { KubeconfigError } from './errors.ts';
import type { ExecPlugin } from './kubeconfig.ts';

/** What a credential plugin answered. */
export interface ExecCredential {
  readonly token: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  /** Epoch milliseconds; undefined where the credential has no end. */
  readonly expiresAt: number | undefined;
}

/** What a plugin that asks for it is told about the cluster. */
export interface ExecClusterInfo {
  readonly server: string;
  readonly tlsServerName: string | undefined;
  readonly insecureSkipTlsVerify: boolean;
  readonly ca: string | undefined;
}

const TIMEOUT_MS = 30_000;
/** How long the output may stay open after the plugin has ended: something that it started may hold it. */
const OUTPUT_GRACE_MS = 500;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Runs a credential plugin, without a terminal, for at most `timeoutMs`; then it is killed with all that it
 * started. Its stderr is not repeated in errors: it may hold secrets. Throws {@link KubeconfigError}.
 */
export async function runExecPlugin(
  plugin: ExecPlugin,
  cluster: ExecClusterInfo,
  timeoutMs = TIMEOUT_MS,
): Promise<ExecCredential> {
  const output = await collectOutput(plugin, execInfo(plugin, cluster), timeoutMs);
  let parsed: unknown;
  try {
    parsed = JSON.parse(output);
  } catch {
    throw new KubeconfigError(`credential plugin ${plugin.command} did not print an ExecCredential`);
  }
  const status = member(parsed, 'status');
  const credential: ExecCredential = {
    token: textMember(status, 'token'),
    certificate: textMember(status, 'clientCertificateData'),
    key: textMember(status, 'clientKeyData'),
    expiresAt: epoch(textMember(status, 'expirationTimestamp')),
  };
  if (
    credential.token === undefined &&
    (credential.certificate === undefined || credential.key === undefined)
  ) {
    throw new KubeconfigError(
      `credential plugin ${plugin.command} printed neither a token nor a certificate`,
    );
  }
  return credential;
}

function execInfo(plugin: ExecPlugin, cluster: ExecClusterInfo): string {
  return JSON.stringify({
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(plugin.provideClusterInfo && {
        cluster: {
          server: cluster.server,
          'tls-server-name': cluster.tlsServerName,
          'insecure-skip-tls-verify': cluster.insecureSkipTlsVerify,
          'certificate-authority-data':
            cluster.ca === undefined ? undefined : Buffer.from(cluster.ca, 'latin1').toString('base64'),
        },
      }),
    },
  });
}

function collectOutput(plugin: ExecPlugin, info: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new KubeconfigError(`credential plugin ${plugin.command} ${why}`));
    const child = spawn(plugin.command, plugin.args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...plugin.env, KUBERNETES_EXEC_INFO: info },
      // A process group of its own, so that it can be ended with all that it started.
      detached: true,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_OUTPUT_BYTES) killGroup(child.pid);
      else chunks.push(chunk);
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      const missing = 'code' in error && error.code === 'ENOENT';
      const hint = plugin.installHint === undefined ? '' : `: ${plugin.installHint.replaceAll(/\s+/g, ' ')}`;
      fail(missing ? `is not installed${hint}` : `could not be started (${error.message})`);
    });
    child.on('exit', () => {
      clearTimeout(timer);
      setTimeout(() => child.stdout.destroy(), OUTPUT_GRACE_MS).unref();
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(chunks).toString('utf8'));
      else if (size > MAX_OUTPUT_BYTES) fail('printed more than 1 MiB');
      else if (timedOut) fail(`did not answer within ${timeoutMs / 1000} s`);
      else fail(`failed with ${signal ?? `exit code ${code}`}; run it by hand to see why`);
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function textMember(value: unknown, key: string): string | undefined {
  const found = member(value, key);
  return typeof found === 'string' && found !== '' ? found : undefined;
}

function epoch(timestamp: string | undefined): number | undefined {
  const parsed = timestamp === undefined ? Number.NaN : Date.parse(timestamp);
  return Number.isNaN(parsed) ? undefined : parsed;
}
