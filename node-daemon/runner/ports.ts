import type { Runner } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { GuestStatus, SeedConfig } from '../../guest/protocol.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import type { AgentEndpoint } from '../guest-link/client.ts';
import type { GuestLink } from '../guest-link/server.ts';
import type { ScriptState } from '../ssh/script.ts';
import type { BundleStore } from '../vm/bundle.ts';
import type { BundlePaths, PreparedVm, VmControl, VmDriver } from '../vm/driver.ts';
import type { GuestMetadata } from '../vm/metadata.ts';
import type { VmObservation } from '../vm/recover.ts';
import type { TemplateBundle } from '../vm/template.ts';
import type { Allocatable } from './capacity.ts';

/** What the reconciler asks of the API server. Every call is bounded in time and throws where it has no answer. */
export interface RunnerApi {
  /** A quorum read; undefined where the server positively says that there is none. */
  get(ref: ObjectRef): Promise<Stored<Runner> | undefined>;
  /** All Runners there are, by a quorum read. */
  list(): Promise<readonly Stored<Runner>[]>;
  /** Fenced by the resourceVersion of `runner`; no write where nothing differs. Returns what is stored now. */
  writeStatus(runner: Stored<Runner>, status: NonNullable<Runner['status']>): Promise<Stored<Runner>>;
  /** Fenced. The answer is what was stored last: with the last finalizer a deleted object goes. undefined: 404. */
  removeFinalizer(runner: Stored<Runner>, finalizer: string): Promise<Stored<Runner> | undefined>;
  /** The value of a key; undefined where the Secret or the key is missing. */
  readSecret(namespace: string, name: string, key: string): Promise<string | undefined>;
  template(name: string): Promise<Stored<Template> | undefined>;
}

/** Tells people what happened, through events.k8s.io/v1. Never blocks, never fails its caller. */
export interface RunnerEvents {
  normal(runner: Stored<Runner>, reason: string, note: string): void;
  warning(runner: Stored<Runner>, reason: string, note: string): void;
}

/** This host, as its registration keeps it. */
export interface HostView {
  readonly name: string;
  uid(): string;
  state(): 'live' | 'deleting' | 'vanished';
  /** Judged on the monotonic clock at the moment of asking. */
  leaseFresh(): boolean;
  /** What Runners may take together now, by the host's spec. */
  allocatable(): Allocatable;
  /** Sealed and verified bundles by name. */
  templates(): ReadonlyMap<string, TemplateBundle>;
  /** The machine can run no VM before it is rebooted. On return that is durable; from now on the host says so. */
  needsReboot(why: string): Promise<void>;
}

/** What is on disk of this host's VMs. See {@link BundleStore}. */
export type Bundles = Pick<
  BundleStore,
  'paths' | 'list' | 'view' | 'create' | 'update' | 'purgeFiles' | 'removeTombstone'
>;

/** Makes, finds and ends VMs. Its calls are bounded in time; `now` stamps what they record. */
export interface VmRuntime {
  /** See {@link VmDriver.prepare}. */
  readonly prepare: VmDriver['prepare'];
  /** See `startVm` in vm/start.ts. The caller closes the connection. */
  start(bundle: BundlePaths, prepared: PreparedVm, now: () => number): Promise<VmControl>;
  /** Never rejects. The caller closes the connection that it may hold. */
  observe(bundle: BundlePaths): Promise<VmObservation>;
  /** See {@link VmDriver.purge}: the process only. */
  purge(bundle: BundlePaths): Promise<void>;
  /** What a guest writes to its console must not fill the host's disk. Settles when aborted; never rejects. */
  keepLogsBounded(bundle: BundlePaths, signal: AbortSignal): Promise<void>;
}

/** Keys and token of one VM, made for it and never used for another. */
export interface MadeSecrets {
  /** `ssh-ed25519 AAAA…` of the guest's SSH server. */
  readonly hostKey: string;
  /** Writes the seed disk, which carries them into the guest. */
  writeSeed(config: Omit<SeedConfig, 'version' | 'token'>): Promise<void>;
}

/** What lies in a bundle and is secret. Nothing of it is told to anybody but the guest itself. */
export interface VmSecrets {
  /** Makes fresh ones and writes those that the host keeps. What was there is replaced. */
  make(bundle: BundlePaths, signal: AbortSignal): Promise<MadeSecrets>;
  /** What guest and host know each other by. Rejects where it cannot be read. */
  token(bundle: BundlePaths): Promise<string>;
}

/** Who is to be reached, as the bundle's metadata tells. */
export interface Guest {
  readonly paths: BundlePaths;
  readonly prepared: PreparedVm;
  readonly guest: GuestMetadata;
}

export interface LoginOptions {
  readonly timeoutMs: number;
  /** Subscribes to the guest's word that its SSH server serves. Returns the way out. */
  readonly nudge: (listener: () => void) => () => void;
  readonly signal: AbortSignal;
}

export type LoginResult =
  | { readonly state: 'connected'; readonly session: GuestSession }
  /** Nothing that time mends: the guest's key is another, or it refuses ours. */
  | { readonly state: 'refused'; readonly message: string }
  /** Time may mend it. */
  | { readonly state: 'failed'; readonly message: string };

/** What the reconciler does inside of guests. The real one speaks SSH, and HTTP with the guest agent. */
export interface GuestAccess {
  /**
   * Waits until an authenticated SSH command exits 0 in the guest, and returns the session it ran in. In a guest
   * without the agent the template's key was replaced by the Runner's then. Rejects only when aborted.
   */
  login(guest: Guest, options: LoginOptions): Promise<LoginResult>;
  /** What the agent tells. Rejects where it does not answer within 5 s. */
  status(agent: AgentEndpoint, token: string, signal: AbortSignal): Promise<GuestStatus>;
}

/**
 * An SSH session with one guest. Calls reject where the connection fails or `signal` aborts, and with a
 * `ScriptError` where the guest cannot do what is asked of it. Each but `watchScript` is bounded in time.
 */
export interface GuestSession {
  /** The key that the server proved to have. */
  readonly hostKey: string;
  /** Settles when the connection ended, for any reason. Never rejects. */
  readonly closed: Promise<void>;
  close(): void;
  /** At most one start ever takes place in a guest, however often this is called. */
  startScript(script: string, signal: AbortSignal): Promise<'started' | 'alreadyStarted'>;
  observeScript(signal: AbortSignal): Promise<ScriptState>;
  /** Settles when the script no longer runs. */
  watchScript(signal: AbortSignal): Promise<Exclude<ScriptState, { state: 'running' }>>;
  /** The end of what the script wrote, at most 4 KiB. */
  outputTail(signal: AbortSignal): Promise<string>;
}

/**
 * Everything outside of memory that a Runner's reconciler touches: the boundary of its side effects. Nothing
 * beyond it reads a clock, a file, a process or a connection, or makes anything random.
 */
export interface RunnerPorts {
  readonly api: RunnerApi;
  readonly host: HostView;
  readonly bundles: Bundles;
  readonly runtime: VmRuntime;
  readonly secrets: VmSecrets;
  readonly guests: GuestAccess;
  readonly guestLink: Pick<GuestLink, 'port' | 'expect' | 'forget'>;
  readonly events: RunnerEvents;
  readonly clock: Clock;
  readonly log: Logger;
}
