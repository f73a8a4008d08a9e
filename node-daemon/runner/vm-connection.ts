import type { BundlePaths, VmControl } from '../vm/driver.ts';
import type { ObservedVm } from './facts.ts';
import type { RunnerPorts } from './ports.ts';
import type { Works } from './works.ts';

/** The control connection with one VM, which tells whether it is there. `changed` is called when that may be new. */
export class VmConnection {
  readonly #ports: RunnerPorts;
  readonly #paths: BundlePaths;
  readonly #works: Works;
  readonly #changed: () => void;
  #control: VmControl | undefined;
  #isStopped = false;
  #areLogsBounded = false;
  /** On the monotonic clock. */
  #unknownSince: number | undefined;

  constructor(ports: RunnerPorts, paths: BundlePaths, works: Works, changed: () => void) {
    this.#ports = ports;
    this.#paths = paths;
    this.#works = works;
    this.#changed = changed;
  }

  get isOpen(): boolean {
    return this.#control !== undefined;
  }

  /** How long {@link observe} has found the VM `unknown`. */
  get unknownForMs(): number | undefined {
    return this.#unknownSince === undefined ? undefined : this.#ports.clock.monotonic() - this.#unknownSince;
  }

  /** Costs nothing while the connection stands; otherwise asks socket and process table. */
  async observe(): Promise<ObservedVm> {
    if (this.#control === undefined) {
      const seen = await this.#ports.runtime.observe(this.#paths);
      const now = this.#ports.clock.monotonic();
      this.#unknownSince = seen.state === 'unknown' ? (this.#unknownSince ?? now) : undefined;
      if (seen.state !== 'present') return seen.state;
      await this.attach(seen.control);
    }
    return this.#isStopped ? 'stopped' : 'present';
  }

  /** Takes over a connection. */
  async attach(control: VmControl): Promise<void> {
    this.#control?.close();
    if (this.#works.hasEnded) {
      control.close();
      return;
    }
    this.#control = control;
    if (!this.#areLogsBounded)
      this.#works.run((signal) => this.#ports.runtime.keepLogsBounded(this.#paths, signal));
    this.#areLogsBounded = true;
    control.onStateChange((state) => {
      this.#isStopped = state === 'stopped';
      this.#changed();
    });
    void control.closed.then(() => {
      if (this.#control !== control) return;
      this.#control = undefined;
      this.#changed();
    });
    // One that does not say is taken for running, until its connection ends or its socket is dead.
    this.#isStopped = (await control.state().catch(() => 'running')) === 'stopped';
  }

  /** Lets go of the VM, which runs on. */
  close(): void {
    this.#control?.close();
    this.#control = undefined;
  }
}
