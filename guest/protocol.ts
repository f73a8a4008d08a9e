/**
 * What passes between host and guest: the seed disk's entries and the two HTTP conversations. The host
 * shares this one file with the agent; it imports nothing.
 */

/** Serial number of the seed disk, by which the guest finds it. */
export const SEED_SERIAL = 'shoesvz-seed';

/** Entries of the seed disk: a plain tar on the block device. All are mode 0600. */
export const SEED_ENTRIES = {
  config: 'seed.json',
  hostKey: 'ssh_host_ed25519_key',
  hostKeyPublic: 'ssh_host_ed25519_key.pub',
  authorizedKeys: 'authorized_keys',
  /** Lines `<sha256 in hex>  <name>` of all the entries above, as sha256sum writes and checks them. */
  checksums: 'SHA256SUMS',
} as const;

/** `seed.json` */
export interface SeedConfig {
  readonly version: 1;
  /** Host name of the guest; also the CI runner's name. */
  readonly hostname: string;
  /** Login user whose authorized_keys are replaced. */
  readonly user: string;
  /** The VM's secret: the guest proves with it who it is, and the host proves that it may ask. Hex. */
  readonly token: string;
  /** Base URL of the host's guest link, e.g. http://10.0.2.2:8081 */
  readonly notifyUrl: string;
  /** Port of the agent's own HTTP server. */
  readonly agentPort: number;
  /** Runner UID and attempt: written into the guest so that its identity can be seen from inside. */
  readonly uid: string;
  readonly attempt: number;
}

/** State of the GitHub Actions runner in the guest. */
export type GuestRunnerState = 'NoRunner' | 'Starting' | 'Idle' | 'Running' | 'Finished';

/** POST {notifyUrl}/notify, `Authorization: Bearer <token>`; answered 204, or 401 for an unknown token or MAC. */
export interface GuestReport {
  readonly mac: string;
  readonly ip: string;
  /** `Ready`: sshd is about to serve; `State`: the runner's state changed. */
  readonly event: 'Ready' | 'State';
  readonly state: GuestRunnerState;
  /** Name that the Actions runner registered under, from its `.runner` file. */
  readonly runnerName?: string | undefined;
}

/** GET /status with the token. GET /health answers 200 `{"ok":true}` openly. */
export interface GuestStatus {
  readonly version: string;
  readonly hostname: string;
  readonly uid: string;
  readonly attempt: number;
  /** The kernel's boot id: unchanged as long as the guest was not rebooted. */
  readonly bootId: string;
  readonly uptimeSeconds: number;
  readonly mac: string;
  readonly ip: string;
  readonly state: GuestRunnerState;
  readonly runnerName?: string | undefined;
}
