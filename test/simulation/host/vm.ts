import type { GuestRunnerState } from '../../../guest/protocol.ts';
import type { ScriptState } from '../../../node-daemon/ssh/script.ts';
import type { PreparedVm, VmIdentity } from '../../../node-daemon/vm/driver.ts';
import type { ProcessIdentity } from '../../../node-daemon/vm/process.ts';

/** What the seed disk carries into a guest. */
export interface SeedContent {
  readonly token: string;
  readonly hostKey: string;
  readonly uid: string;
  readonly attempt: number;
}

/** One VM's process and the guest in it. It outlives daemons, and ends with its machine. */
export class SimVm {
  readonly identity: VmIdentity;
  readonly prepared: PreparedVm;
  readonly process: ProcessIdentity;
  readonly seed: SeedContent | undefined;
  /** Host key and authorized key of a guest that is up; both come from the seed disk. */
  isSshUp = false;
  /** It runs, and neither its socket nor its guest answers. */
  isHung = false;
  /** Not even SIGKILL ends it, as while a disk does not answer. */
  isStuck = false;
  /** Somebody removed its bundle. */
  isOrphan = false;
  script: ScriptState = { state: 'absent' };
  /** Scripts that ran. */
  readonly ran: string[] = [];
  output = '';
  /** How often the guest has reset. */
  resets = 0;
  agent: GuestRunnerState = 'NoRunner';
  /** Its daemon ended it. */
  wasKilled = false;
  /** How guest and script stood at each reset. */
  readonly before: Pick<SimVm, 'script' | 'agent'>[] = [];
  #alive = true;
  readonly #listeners = new Set<() => void>();

  constructor(prepared: PreparedVm, process: ProcessIdentity, seed: SeedContent | undefined) {
    this.identity = prepared.spec.identity;
    this.prepared = prepared;
    this.process = process;
    this.seed = seed;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  /** Whether the guest answers over SSH. */
  get answers(): boolean {
    return this.#alive && this.isSshUp && !this.isHung;
  }

  end(wasKilled: boolean): void {
    this.#alive = false;
    this.wasKilled = wasKilled;
    this.changed();
  }

  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
