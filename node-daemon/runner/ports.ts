import type { Runner } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import type { GuestLink } from '../guest-link/server.ts';
import type { VmBackend } from '../vm/backend.ts';
import type { TemplateBundle } from '../vm/template.ts';

/** What the reconciler asks of the API server. Every call is bounded in time and throws where it has no answer. */
export interface RunnerApi {
  /** A quorum read; undefined where the server positively says that there is none. */
  get(ref: ObjectRef): Promise<Stored<Runner> | undefined>;
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
  /** Sealed and verified bundles by name. */
  templates(): ReadonlyMap<string, TemplateBundle>;
}

/** Everything outside of memory that a Runner's reconciler touches: the boundary of its side effects. */
export interface RunnerPorts {
  readonly api: RunnerApi;
  readonly host: HostView;
  readonly backend: VmBackend;
  readonly guestLink: GuestLink;
  readonly events: RunnerEvents;
  readonly clock: Clock;
  readonly log: Logger;
}
