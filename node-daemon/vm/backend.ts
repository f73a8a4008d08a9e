import type { BundleStore } from './bundle.ts';
import type { VmDriver } from './driver.ts';
import type { VmProcesses } from './process.ts';

/** All that one host runs its VMs with. */
export interface VmBackend {
  readonly driver: VmDriver;
  readonly processes: VmProcesses;
  readonly bundles: BundleStore;
}
