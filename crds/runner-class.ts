import { z } from 'zod';
import type { API_VERSION, ObjectMeta } from './meta.ts';
import { Int32, Quantity } from './scalars.ts';

/** Annotation that makes a class the default one, as for StorageClasses. Of two, the newest wins. */
export const DEFAULT_CLASS_ANNOTATION = 'shoesvz.dev/is-default-class';

export const RunnerClassSpec = z.object({
  cpu: Int32.min(1).max(1024).describe('Virtual CPUs.'),
  memory: Quantity.describe('Memory of the guest.'),
  disk: Quantity.describe(
    "Size of the guest's disk; its filesystem is grown to it. A disk smaller than the template's is raised to the template's.",
  ),
});
export type RunnerClassSpec = z.infer<typeof RunnerClassSpec>;

/** A size of VM. */
export interface RunnerClass {
  apiVersion: typeof API_VERSION;
  kind: 'RunnerClass';
  metadata: ObjectMeta;
  spec: RunnerClassSpec;
}
