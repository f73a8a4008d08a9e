import { ExplainedError } from '../../kube/explained-error.ts';

/** What the class gave the VM, in plain units. */
export interface RunnerResources {
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** What a driver found that works on this machine, by trying it. */
export interface Capabilities {
  /** Version of the hypervisor. */
  readonly version: string;
  /** What runs guest instructions: `kvm`, `tcg`, `hvf`; `fake` in unit tests. */
  readonly accelerator: string;
  /** Why it is this accelerator and not a faster one, for people. */
  readonly acceleratorReason?: string | undefined;
  /** Whether the host root's filesystem clones files copy-on-write. */
  readonly reflink: boolean;
}

/** How the VM's process is started. Never carries a secret: argv and environment are public. */
export interface VmCommand {
  /** Absolute, or a name looked up in the daemon's PATH. */
  readonly file: string;
  /**
   * Names the bundle's control socket: by that the process is found again when nothing recorded its pid.
   */
  readonly argv: readonly string[];
  /** The whole environment but for PATH: nothing else of the daemon's own is passed on. */
  readonly env: Readonly<Record<string, string>>;
}

/** Where the host reaches the guest. */
export interface GuestEndpoints {
  readonly ssh: { readonly host: string; readonly port: number };
  /** The guest agent's HTTP server. */
  readonly agent: { readonly host: string; readonly port: number };
  /** Base URL under which the guest reaches the daemon's guest link. */
  readonly notifyUrl: string;
  /** The guest's own address where the driver knows it without the agent. */
  readonly guestIp?: string | undefined;
  readonly mac: string;
}

/** What the driver is asked to make. Written to the bundle before anything else happens. */
export interface VmSpec {
  readonly identity: VmIdentity;
  readonly templateDir: string;
  readonly resources: RunnerResources;
  /** Ports inside the guest. */
  readonly guestPorts: { readonly ssh: number; readonly agent: number };
  /** TCP port of the daemon's guest link on the host. */
  readonly notifyPort: number;
  /** Whether there will be a seed disk when the VM starts. Default: yes. */
  readonly seedDisk?: boolean | undefined;
}

/** A VM is (Runner UID, attempt, host UID): line 1 of the binding protocol. */
export interface VmIdentity {
  readonly uid: string;
  readonly attempt: number;
  readonly hostUid: string;
}

export type VmRunState = 'starting' | 'running' | 'paused' | 'stopped';

/**
 * A live connection to one VM's process over the bundle's control socket. The socket named the VM's
 * identity before this object was handed out. `closed` settles when the connection ends for any reason;
 * it says nothing about whether the VM is gone.
 */
export interface VmControl {
  state(): Promise<VmRunState>;
  /** Asks the guest to shut down (ACPI). Returns when it was asked. */
  stop(): Promise<void>;
  /** Ends the VM at once. Returns when the process was told; it may take a moment to go. */
  kill(): Promise<void>;
  /** Lets go of the connection; the VM runs on. */
  close(): void;
  /** Calls back on every change that the process reports, until the connection ends. Returns the way out. */
  onStateChange(listener: (state: VmRunState) => void): () => void;
  readonly closed: Promise<void>;
}

/**
 * One way to run VMs. A VM is a process of its own that outlives the daemon: the driver says how it is
 * started and how it is spoken to, `process.ts` spawns and finds it.
 */
export interface VmDriver {
  readonly name: 'vz' | 'qemu' | 'fake';
  /**
   * Found by trying; the first call may take 20 s, later ones only where something could have changed. Worth
   * calling again when a template has appeared. Rejects with DriverUnavailable.
   */
  probe(): Promise<Capabilities>;
  /**
   * Clones disks and fixes the VM's own identity (MAC, ports), and records it as the bundle's `prepared`.
   * Idempotent: a bundle that is prepared is left as it is. On return all of it is on disk, synced but for
   * the disk's content, which no one needs after a crash of the machine. Rejects with a {@link VmError} that
   * a person understands; leaves the bundle purgeable whatever happened. `signal` ends it early.
   */
  prepare(bundle: BundlePaths, spec: VmSpec, signal: AbortSignal): Promise<PreparedVm>;
  /** Pure: from what `prepare` wrote. */
  command(bundle: BundlePaths, prepared: PreparedVm): VmCommand;
  /** Rejects where the socket is dead or names another VM; bounded at 5 s. */
  connect(bundle: BundlePaths, identity: VmIdentity): Promise<VmControl>;
  /** Pure: why the VM's process ended by itself, in one line, from the end of its log. */
  explainExit(log: string): VmError;
  /**
   * Out of band, needs no socket: kills the VM's process if there is one and returns only when it was
   * observed gone, and the hypervisor counts it no more. Idempotent. Does not remove files: the bundle's owner does that afterwards. Rejects where
   * the process could not be observed gone within 15 s.
   */
  purge(bundle: BundlePaths): Promise<void>;
}

/** Paths of one bundle; see bundle.ts for the layout. */
export interface BundlePaths {
  readonly uid: string;
  readonly attempt: number;
  /** `<root>/runners/<uid>.<attempt>.bundle` */
  readonly dir: string;
  /** Clone of the template's disk, or, where the filesystem cannot clone, see `diskOverlay`. */
  readonly disk: string;
  /** qcow2 overlay upon the template's disk. */
  readonly diskOverlay: string;
  readonly seed: string;
  readonly metadata: string;
  readonly controlSocket: string;
  /** What the VM's process wrote to stdout and stderr. */
  readonly log: string;
  readonly serialLog: string;
  /** The Runner's own SSH key, mode 0600. */
  readonly privateKey: string;
  /** The secret that guest and host know each other by, mode 0600. */
  readonly guestToken: string;
}

/** What `prepare` fixed, as `RuntimeMetadata.json` keeps it: enough to build the command line again. */
export interface PreparedVm {
  readonly spec: VmSpec;
  readonly endpoints: GuestEndpoints;
  /** Driver-private facts (disk format, accelerator, …): plain JSON. */
  readonly driver: Readonly<Record<string, string | number | boolean>>;
}

/** Why a VM could not be made or started. `reason` is CamelCase for conditions; the message is for people. */
export class VmError extends ExplainedError {
  readonly reason: VmErrorReason;
  constructor(reason: VmErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VmError';
    this.reason = reason;
  }
}

export type VmErrorReason =
  | 'TemplateMissing'
  | 'CloneFailed'
  | 'NoRoom'
  | 'StartFailed'
  | 'PortTaken'
  /** The hypervisor runs as many VMs as it ever does, those included that it has not noticed to be gone. */
  | 'VmLimit'
  | 'DriverUnavailable';

/** What a driver's `prepare` throws, whatever went wrong: a disk that is full is told apart. */
export function asVmError(error: unknown): VmError {
  if (error instanceof VmError) return error;
  const noRoom = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
  const message = error instanceof Error ? error.message : String(error);
  return new VmError(noRoom ? 'NoRoom' : 'CloneFailed', message, { cause: error });
}
