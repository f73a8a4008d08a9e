import type { VmBackend } from '../vm/backend.ts';
import { keepLogsBounded } from '../vm/logs.ts';
import { observeVm } from '../vm/recover.ts';
import { startVm } from '../vm/start.ts';
import type { VmRuntime } from './ports.ts';

/** {@link VmRuntime} of the machine that this process runs on. */
export const vmRuntime = (backend: VmBackend): VmRuntime => ({
  prepare: (bundle, spec, signal) => backend.driver.prepare(bundle, spec, signal),
  start: async (bundle, prepared, now) => (await startVm(backend, bundle, prepared, now)).control,
  observe: (bundle) => observeVm(backend, bundle),
  purge: (bundle) => backend.driver.purge(bundle),
  keepLogsBounded: (bundle, signal) => keepLogsBounded(bundle, signal),
});
