import type { Runner } from '../../crds/runner.ts';
import type { GuestRunnerState } from '../../guest/protocol.ts';
import type { Stored } from '../../kube/object.ts';
import type { OutcomeReason, RuntimeMetadata } from '../vm/metadata.ts';
import type { Timeouts } from './timeouts.ts';

/**
 * What the API server says of a Runner UID. `elsewhere`: the object is there, but its binding is not to
 * this host object. `unknown` is never taken for `absent`: nothing is made or destroyed on it.
 */
export type ObservedRunner =
  | { readonly is: 'bound'; readonly runner: Stored<Runner> }
  | { readonly is: 'elsewhere'; readonly runner: Stored<Runner> }
  | { readonly is: 'absent' }
  | { readonly is: 'unknown'; readonly why: string };

/**
 * Whether the VM's process was found. `stopped`: it is there, but its guest has ended. `unknown`: it may run, but
 * does not answer.
 */
export type ObservedVm = 'present' | 'stopped' | 'absent' | 'unknown';

/**
 * How far a bundle came, by what is durable on disk.
 * Preparing: the directory and its identity exist. Prepared: disks and seed are complete. Started: the
 * driver's start returned. TearingDown: an outcome is recorded or the VM is unwanted. Purged: a tombstone.
 */
export type BundleStage = 'Preparing' | 'Prepared' | 'Started' | 'TearingDown' | 'Purged';

/** How a Runner ended. Recorded in the bundle before anything is destroyed. */
export interface Outcome {
  readonly phase: 'Finished' | 'Error';
  readonly reason: OutcomeReason;
  readonly message: string;
  readonly at: number;
  readonly setup?:
    | { readonly exitCode?: number | undefined; readonly outputTail?: string | undefined }
    | undefined;
}

/**
 * One bundle of this Runner UID, as its metadata tells. Moments are epoch milliseconds by the wall clock, for
 * people; what time decides is decided by {@link Ages}.
 */
export interface BundleFacts {
  readonly attempt: number;
  readonly hostUid: string;
  readonly stage: BundleStage;
  readonly cloneMs?: number | undefined;
  readonly bootToSshMs?: number | undefined;
  readonly totalMs?: number | undefined;
  readonly setupMs?: number | undefined;
  readonly startedAt?: number | undefined;
  readonly sshReadyAt?: number | undefined;
  readonly hostKey?: string | undefined;
  readonly scriptStartedAt?: number | undefined;
  readonly readyAt?: number | undefined;
  readonly readyReason?: ReadyReason | undefined;
  readonly outcome?: Outcome | undefined;
}

/** A bundle that is not the one of the bound attempt. */
export interface StrayFacts extends BundleFacts {
  readonly purging: boolean;
  /** Its purge has failed and is being tried again. */
  readonly failing: boolean;
}

/** Milliseconds since moments in the bundle's life. No setting of the wall clock changes them. */
export interface Ages {
  /** Since the Runner was created, on the API server's clock. */
  readonly runnerCreated?: number | undefined;
  /** Since the bundle was. */
  readonly created?: number | undefined;
  readonly started?: number | undefined;
  readonly sshReady?: number | undefined;
  readonly scriptStarted?: number | undefined;
  readonly ready?: number | undefined;
}

export type ReadyReason = NonNullable<RuntimeMetadata['ready']>['reason'];

/** What the guest's script directory told. `unobserved`: this daemon has not looked yet. */
export type ScriptFacts =
  | { readonly state: 'unobserved' }
  /** Being read from its Secret, sent, or waiting for the next try. */
  | { readonly state: 'starting'; readonly waitingFor?: string | undefined }
  | { readonly state: 'absent' }
  | { readonly state: 'incomplete' }
  /** The guest lacks what a script needs: a shell, room, a home directory. */
  | { readonly state: 'impossible'; readonly message: string }
  | { readonly state: 'running' }
  /** `at`: when this daemon saw it, epoch milliseconds; `forMs`: since then. */
  | {
      readonly state: 'exited';
      readonly exitCode: number;
      readonly outputTail: string;
      readonly at: number;
      readonly forMs: number;
    }
  | { readonly state: 'vanished' };

/** A script that has nothing left to tell. */
export const isScriptOver = ({ state }: ScriptFacts): boolean =>
  state === 'exited' || state === 'vanished' || state === 'impossible';

/** What this daemon process knows of the VM and is doing with it; lost when the daemon dies. */
export interface SessionFacts {
  readonly launch:
    | { readonly state: 'idle' }
    | { readonly state: 'running'; readonly forMs: number }
    | { readonly state: 'failed'; readonly reason: OutcomeReason; readonly message: string };
  readonly ssh: /** `failure`: why the last try came to nothing. */
    | { readonly state: 'idle'; readonly failure?: string | undefined }
    | { readonly state: 'connecting'; readonly failure?: string | undefined }
    | { readonly state: 'connected' }
    | { readonly state: 'refused'; readonly message: string };
  /** Milliseconds since a connection that is wanted was lost, while it is. */
  readonly sshLostForMs?: number | undefined;
  readonly script: ScriptFacts;
  readonly scriptWatched: boolean;
  /** True where this very process passed the gate: only then may a script that left no trace be started. */
  readonly gatePassedHere: boolean;
  /** Milliseconds since then. */
  readonly gatePassedForMs?: number | undefined;
  readonly guest?: { readonly state: GuestRunnerState; readonly ip: string } | undefined;
  /** A purge that fails is tried again by itself, with back-off, and stays `running`; `failing` says why. */
  readonly purge:
    | { readonly state: 'idle' }
    | { readonly state: 'running'; readonly forMs: number; readonly failing?: string | undefined };
}

/** Everything that a decision rests on. */
export interface RunnerFacts {
  /** The wall clock, epoch milliseconds: for what people read. */
  readonly now: number;
  /** Line 13 of the binding protocol: without a fresh Lease no spawn, no gate, no destroying. */
  readonly leaseFresh: boolean;
  readonly host: {
    readonly name: string;
    readonly uid: string;
    readonly state: 'live' | 'deleting' | 'vanished';
    /** Line 4: what was on disk at the start, and is not wanted, is gone. */
    readonly isCleared: boolean;
  };
  readonly runner: ObservedRunner;
  /** Why the bound attempt does not fit on this host; asked only where nothing of it has begun. */
  readonly shortage?: string | undefined;
  /** The attempt that `vm` and `session` tell of: the bound one, else one of which something is left. */
  readonly attempt: number;
  /** The bundle of the bound attempt; of a Runner that is not bound here, one of its bundles. */
  readonly bundle?: BundleFacts | undefined;
  readonly ages: Ages;
  /** What the bundle records of them, else what the Runner says. */
  readonly timeouts: Timeouts;
  /** Bundles of the same UID that are not it: other attempts, or made for another host object. */
  readonly strays: readonly StrayFacts[];
  /** Attempts whose finalizer of this host stands on the object. */
  readonly heldAttempts: readonly number[];
  readonly vm: ObservedVm;
  /** How long the VM has been `unknown` while nothing was being done to it. */
  readonly vmUnknownForMs?: number | undefined;
  readonly session: SessionFacts;
  /** Addresses, once the bundle is prepared. */
  readonly endpoint?:
    | {
        readonly host: string;
        readonly port: number;
        readonly user: string;
        readonly guestIp?: string | undefined;
      }
    | undefined;
  /** Whether the template carries the guest agent, so that a runner's state can be known. */
  readonly guestAgent: boolean;
}
