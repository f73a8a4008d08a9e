import { hasFailed, isOver } from '../../crds/attempts.ts';
import { finalizerName, holdsOf } from '../../crds/meta.ts';
import type { Binding, Runner } from '../../crds/runner.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import { type Amounts, type HostFacts, NO_USAGE, type Usage } from './place.ts';

/** What is known of the host object that a Runner is bound to. `lost`: its Lease was judged stale. */
export type BoundHost = 'there' | 'lost' | 'gone';

/** A slot that one attempt of a Runner holds on a host. */
export interface Claim {
  readonly hostName: string;
  readonly attempt: number;
  readonly amounts: Amounts;
  /** Of the bundle that the VM was cloned from; tells the guest's operating system. */
  readonly templateDigest: string;
}

const NOTHING: Amounts = { cpu: 0, memoryBytes: 0, diskBytes: 0 };

/**
 * The slots that a Runner holds: one per finalizer of a VM, which goes when the VM was observed gone, and the one
 * of its binding until that attempt is over, or the host object is gone. An attempt counts once, by what was recorded
 * when it was bound.
 */
export function claimsOf(runner: Runner, boundHost: BoundHost = 'there'): Claim[] {
  const { binding } = runner.spec;
  const claims = new Map<string, Claim>();
  for (const { finalizer, hostName, attempt } of holdsOf(runner.metadata)) {
    claims.set(finalizer, claimOf(binding, hostName, attempt));
  }
  if (binding !== undefined && !isOver(runner) && !hasFailed(runner) && boundHost !== 'gone') {
    const { hostName, attempt } = binding;
    claims.set(finalizerName(hostName, attempt), claimOf(binding, hostName, attempt));
  }
  return [...claims.values()];
}

/** An attempt that the binding does not tell of is counted as the bound one: they are bound by the same spec. */
function claimOf(binding: Binding | undefined, hostName: string, attempt: number): Claim {
  const earlier = binding?.earlier?.find((one) => one.attempt === attempt && one.hostName === hostName);
  const recorded = earlier ?? binding;
  return {
    hostName,
    attempt,
    amounts: recorded === undefined ? NOTHING : amountsOf(recorded.resources),
    templateDigest: recorded?.templateDigest ?? '',
  };
}

const amountsOf = (resources: { cpu: number; memory: string; disk: string }): Amounts => ({
  cpu: resources.cpu,
  memoryBytes: quantityBytes(resources.memory),
  diskBytes: quantityBytes(resources.disk),
});

/**
 * Who holds what on which host. A binding that was sent counts from the moment it was decided until an
 * object shows it or it is known not to have happened: neither a slow watch nor an event from before the
 * binding frees the slot.
 */
export class Ledger {
  readonly #observed = new Map<string, readonly Claim[]>();
  readonly #assumed = new Map<string, Claim>();
  /** Host name → UIDs of the Runners that hold a slot there. */
  readonly #holders = new Map<string, Set<string>>();

  /** Takes over what an object says. Returns the hosts whose usage may have changed. */
  observe(uid: string, runner: Runner, boundHost: BoundHost = 'there'): readonly string[] {
    const before = this.#hostsOf(uid);
    const claims = claimsOf(runner, boundHost);
    if (claims.length > 0) this.#observed.set(uid, claims);
    else this.#observed.delete(uid);
    const assumed = this.#assumed.get(uid);
    if (assumed !== undefined && (runner.spec.binding?.attempt ?? 0) >= assumed.attempt) {
      this.#assumed.delete(uid);
    }
    return this.#reindex(uid, before);
  }

  /** The object is gone for certain. Returns the hosts where it held a slot. */
  forget(uid: string): readonly string[] {
    const before = this.#hostsOf(uid);
    this.#observed.delete(uid);
    this.#assumed.delete(uid);
    return this.#reindex(uid, before);
  }

  /** A binding was decided and is being written. */
  assume(uid: string, claim: Claim): void {
    const before = this.#hostsOf(uid);
    this.#assumed.set(uid, claim);
    this.#reindex(uid, before);
  }

  /** A binding that was assumed certainly did not happen. Returns the hosts where it held a slot. */
  release(uid: string): readonly string[] {
    const before = this.#hostsOf(uid);
    this.#assumed.delete(uid);
    return this.#reindex(uid, before);
  }

  /** Whether a binding of the Runner was sent that no object has shown yet. */
  isAssumed(uid: string): boolean {
    return this.#assumed.has(uid);
  }

  holders(hostName: string): ReadonlySet<string> {
    return this.#holders.get(hostName) ?? new Set();
  }

  /**
   * What is taken of a host. A guest whose operating system is not known any more, because the host's bundle
   * is gone, counts as macOS on a Mac.
   */
  usage(host: HostFacts): Usage {
    const osOfDigest = new Map([...host.bundles.values()].map((bundle) => [bundle.digest, bundle.os]));
    const unknownOs = host.kind === 'MacHost' ? 'macOS' : 'linux';
    let total = NO_USAGE;
    for (const uid of this.holders(host.name)) {
      for (const claim of this.#claims(uid)) {
        if (claim.hostName !== host.name) continue;
        const os = osOfDigest.get(claim.templateDigest) ?? unknownOs;
        total = {
          cpu: total.cpu + claim.amounts.cpu,
          memoryBytes: total.memoryBytes + claim.amounts.memoryBytes,
          diskBytes: total.diskBytes + claim.amounts.diskBytes,
          runners: total.runners + 1,
          macOSGuests: total.macOSGuests + (os === 'macOS' ? 1 : 0),
        };
      }
    }
    return total;
  }

  #claims(uid: string): readonly Claim[] {
    const observed = this.#observed.get(uid) ?? [];
    const assumed = this.#assumed.get(uid);
    return assumed === undefined ? observed : [...observed, assumed];
  }

  #hostsOf(uid: string): readonly string[] {
    return this.#claims(uid).map((claim) => claim.hostName);
  }

  #reindex(uid: string, before: readonly string[]): readonly string[] {
    const after = this.#hostsOf(uid);
    for (const hostName of before) {
      const holders = this.#holders.get(hostName);
      holders?.delete(uid);
      if (holders?.size === 0) this.#holders.delete(hostName);
    }
    for (const hostName of after) {
      const holders = this.#holders.get(hostName) ?? new Set();
      this.#holders.set(hostName, holders.add(uid));
    }
    return [...new Set([...before, ...after])];
  }
}
