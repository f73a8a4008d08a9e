import { Elapsed } from '../../kube/elapsed.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { RunnerPorts } from './ports.ts';
import { VmSession } from './session.ts';

/** The sessions of this daemon process, by bundle. */
export class Sessions {
  /** Since Runners were created, by UID: outlives sessions that hold nothing. */
  readonly ages: Elapsed;
  readonly #ports: RunnerPorts;
  readonly #changed: (uid: string) => void;
  readonly #byDir = new Map<string, VmSession>();

  constructor(ports: RunnerPorts, changed: (uid: string) => void) {
    this.#ports = ports;
    this.#changed = changed;
    this.ages = new Elapsed(ports.clock);
  }

  list(): VmSession[] {
    return [...this.#byDir.values()];
  }

  ofUid(uid: string): VmSession[] {
    return this.list().filter(({ paths }) => paths.uid === uid);
  }

  /** The session of a bundle; undefined where there is none. */
  at(paths: BundlePaths): VmSession | undefined {
    return this.#byDir.get(paths.dir);
  }

  /**
   * The session of a bundle, a new one where there is none or where a purge has ended the last one. How a Runner ended
   * is all that outlives a purge: the disk may still have no room for it.
   */
  of(paths: BundlePaths): VmSession {
    const known = this.at(paths);
    if (known !== undefined && !known.isPurged) return known;
    const session = new VmSession(this.#ports, paths, () => this.#changed(paths.uid));
    session.outcome = known?.outcome;
    this.#byDir.set(paths.dir, session);
    return session;
  }

  /** Forgets a session that holds nothing any more. */
  drop(paths: BundlePaths): void {
    this.#byDir.delete(paths.dir);
  }
}
