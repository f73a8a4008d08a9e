import type { Pki } from './pki.ts';

/**
 * etcd's only doors: unix sockets in its private directory, named relative to it, so that no length of path
 * matters. No TCP port is opened: guests reach the host's loopback. etcd wants a port number in
 * every URL; in that of a unix socket it is part of the file's name.
 */
/** Name of the socket file in the private directory. */
export const CLIENT_SOCKET = 'client.sock:0';
const CLIENT_URL = `unix://${CLIENT_SOCKET}`;
const PEER_URL = 'unix://peer.sock:0';

export interface EtcdFlags {
  /** Whether data may be lost when the machine (not the process) dies. For tests. */
  readonly unsafeNoFsync: boolean;
}

/** Arguments of etcd; its working directory is the private one with the sockets. */
export function etcdArguments(flags: EtcdFlags): string[] {
  return [
    '--name=shoes-vz',
    '--data-dir=data',
    `--listen-client-urls=${CLIENT_URL}`,
    `--advertise-client-urls=${CLIENT_URL}`,
    `--listen-peer-urls=${PEER_URL}`,
    `--initial-advertise-peer-urls=${PEER_URL}`,
    `--initial-cluster=shoes-vz=${PEER_URL}`,
    '--auto-compaction-mode=periodic',
    '--auto-compaction-retention=1h',
    // Without it the API server sends no bookmarks for a kind that has seen no event since its start, and watches
    // of it are taken for dead. This spelling is known to etcd 3.5 and 3.6, the newer one to 3.6 only.
    '--experimental-watch-progress-notify-interval=5s',
    '--log-level=warn',
    ...(flags.unsafeNoFsync ? ['--unsafe-no-fsync'] : []),
  ];
}

export interface ApiserverFlags {
  readonly bindAddress: string;
  readonly port: number;
  readonly pki: Pki;
  readonly audit: { readonly policyFile: string; readonly logFile: string } | undefined;
}

/** Arguments of kube-apiserver; its working directory is etcd's, where the socket is. */
export function apiserverArguments(flags: ApiserverFlags): string[] {
  const { pki, audit } = flags;
  return [
    `--etcd-servers=${CLIENT_URL}`,
    `--bind-address=${flags.bindAddress}`,
    `--secure-port=${flags.port}`,
    '--advertise-address=127.0.0.1',
    '--endpoint-reconciler-type=none',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--authorization-mode=RBAC',
    '--anonymous-auth=false',
    '--profiling=false',
    // Without it a stop waits a minute for watches, which nothing ends.
    '--shutdown-watch-termination-grace-period=1s',
    '--allow-privileged=true',
    // No controller-manager makes the default service accounts that this plugin demands.
    '--disable-admission-plugins=ServiceAccount',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${pki.serviceAccountPublicKey}`,
    `--service-account-signing-key-file=${pki.serviceAccountKey}`,
    `--client-ca-file=${pki.caCertificate}`,
    `--tls-cert-file=${pki.servingCertificate}`,
    `--tls-private-key-file=${pki.servingKey}`,
    '--tls-min-version=VersionTLS12',
    ...(audit === undefined
      ? []
      : [
          `--audit-policy-file=${audit.policyFile}`,
          `--audit-log-path=${audit.logFile}`,
          '--audit-log-maxsize=100',
          '--audit-log-maxbackup=2',
        ]),
  ];
}

/** Who did what to which object, without bodies: they carry secrets. */
export const AUDIT_POLICY = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
`;
