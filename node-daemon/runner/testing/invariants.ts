import { existsSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { finalizerName } from '../../../crds/meta.ts';
import type { Runner } from '../../../crds/runner.ts';
import type { Stored } from '../../../kube/object.ts';
import { parseBundleName } from '../../vm/bundle.ts';
import type { BundlePaths } from '../../vm/driver.ts';
import type { FakeMachine } from '../../vm/fake/machine.ts';
import type { FakeGuests } from './fake-guests.ts';

/** What the invariants are held to. */
export interface Held {
  readonly host: { readonly name: string; readonly leaseFresh: boolean };
  readonly machine: FakeMachine;
  readonly guests: FakeGuests;
  paths(uid: string, attempt: number): BundlePaths;
}

/** File that alone makes a tombstone. */
const METADATA = 'RuntimeMetadata.json';

/** The invariants of one host, held to account at each step. */
export class Invariants {
  /** Those that were broken. */
  readonly violations: string[] = [];
  readonly #held: Held;

  constructor(held: Held) {
    this.#held = held;
  }

  /** Of every write of a daemon, before it is carried out: 4, and line 13 of the binding protocol. */
  checkWrite(next: Stored<Runner>, old: Stored<Runner>): void {
    const { host } = this.#held;
    const kept = new Set(next.metadata.finalizers ?? []);
    const prefix = finalizerName(host.name, 0).slice(0, -1);
    for (const name of old.metadata.finalizers ?? []) {
      if (kept.has(name)) continue;
      if (name.startsWith(prefix)) this.#checkGone(old.metadata.uid, name, Number(name.slice(prefix.length)));
      else this.violations.push(`${name}, which is not this host's, went`);
    }
    const phase = next.status?.phase;
    const isOver = phase === 'Finished' || phase === 'Error';
    if (isOver && phase !== old.status?.phase && this.#runningUids().includes(old.metadata.uid)) {
      this.violations.push(`${phase} was told while the VM ran`);
    }
    const failures = next.status?.attempts?.length ?? 0;
    if (failures > (old.status?.attempts?.length ?? 0) && this.#runningUids().includes(old.metadata.uid)) {
      this.violations.push('a start was told to have failed while its VM ran');
    }
    if (!host.leaseFresh) this.violations.push('a Runner was written to without a Lease');
  }

  /** After a VM was started: 1b, and line 13. */
  checkVms(): void {
    const uids = this.#runningUids();
    if (new Set(uids).size < uids.length) this.violations.push(`two VMs of one UID: ${uids.join(', ')}`);
    if (!this.#held.host.leaseFresh) this.violations.push('a VM was started without a Lease');
  }

  /** At the end: 1a, and that no script ran twice. */
  checkScripts(): void {
    const { guests } = this.#held;
    const given = Map.groupBy(guests.given, ({ uid }) => uid);
    for (const [uid, gifts] of given) {
      const attempts = new Set(gifts.map(({ attempt }) => attempt));
      if (attempts.size > 1)
        this.violations.push(`attempts ${[...attempts].join(', ')} of ${uid} got the script`);
    }
    for (const [uid, each] of Map.groupBy(guests.all(), ({ vm }) => vm.identity.uid)) {
      const times = each.flatMap(({ ran }) => ran).length;
      if (times > 1) this.violations.push(`the script of ${uid} ran ${times} times`);
    }
  }

  #checkGone(uid: string, finalizer: string, attempt: number): void {
    const { dir } = this.#held.paths(uid, attempt);
    if (this.#held.machine.running().includes(dir))
      this.violations.push(`${finalizer} went while its VM ran`);
    const files = existsSync(dir) ? readdirSync(dir).filter((file) => file !== METADATA) : [];
    if (files.length > 0) this.violations.push(`${finalizer} went while ${files.join(', ')} was left`);
  }

  #runningUids(): string[] {
    return this.#held.machine.running().map((dir) => parseBundleName(basename(dir))?.uid ?? '');
  }
}
