import { HOST_FINALIZER, type Host } from '../../crds/host.ts';
import type { Stored } from '../../kube/object.ts';

/**
 * How a daemon and its host object come together and apart. A host object is known by its UID: a deleted and
 * re-created one is another host, and no VM goes from one to the other.
 *
 *     (no object) ──create──► live ──deleted by a user──► deleting ──purged: finalizer removed──┐
 *          ▲                   ▲ │                                                              │
 *          │                 adopt └── gone, or another UID in its place ──► vanished ◄─────────┘
 *          └───────────────────┴──────────────── purged ────────────────────────┘
 */
export type HostState = 'live' | 'deleting' | 'vanished';

export interface RegistrationFacts {
  /** What the API server says of the name, by a quorum read or a watch; undefined: positively nothing. */
  readonly object: Stored<Host> | undefined;
  /** UID that VMs on this machine belong to; undefined on a machine without any. */
  readonly uid: string | undefined;
  /** Whether everything that belonged to `uid` was destroyed and observed gone. */
  readonly purged: boolean;
  readonly machineId: string;
}

/** `none`: nothing to do before something changes. */
export type RegistrationStep =
  | { readonly step: 'create' }
  | { readonly step: 'adopt'; readonly object: Stored<Host> }
  | { readonly step: 'addFinalizer'; readonly object: Stored<Host> }
  | { readonly step: 'removeFinalizer'; readonly object: Stored<Host> }
  | { readonly step: 'none' }
  /** The object is another machine's: it is not touched. */
  | { readonly step: 'refuse'; readonly object: Stored<Host> };

/** The next step towards being registered. Pure; asked again after each step. */
export function decideRegistration(facts: RegistrationFacts): RegistrationStep {
  const { object, uid, purged } = facts;
  if (uid !== undefined && uid !== object?.metadata.uid && !purged) return { step: 'none' };
  if (object === undefined) return { step: 'create' };
  const owner = object.status?.nodeInfo?.machineID;
  if (owner !== undefined && owner !== facts.machineId) return { step: 'refuse', object };
  if (object.metadata.uid !== uid) return { step: 'adopt', object };
  const finalized = object.metadata.finalizers?.includes(HOST_FINALIZER) ?? false;
  if (object.metadata.deletionTimestamp === undefined) {
    return finalized ? { step: 'none' } : { step: 'addFinalizer', object };
  }
  return finalized && purged ? { step: 'removeFinalizer', object } : { step: 'none' };
}

/** What the daemon's other half is told. */
export function hostState(facts: Pick<RegistrationFacts, 'object' | 'uid'>): HostState {
  const { object, uid } = facts;
  if (object === undefined || object.metadata.uid !== uid) return 'vanished';
  return object.metadata.deletionTimestamp === undefined ? 'live' : 'deleting';
}
