import { z } from 'zod';
import type { API_VERSION, ObjectMeta } from './meta.ts';
import { Int32, Size } from './scalars.ts';

/** Annotation that makes a class the default one, as for StorageClasses. Of two, the newest wins. */
export const DEFAULT_CLASS_ANNOTATION = 'shoesvz.dev/is-default-class';

export const RunnerClassSpec = z
  .object({
    cpu: Int32.min(1).max(1024).describe('Virtual CPUs, from 1 to 1024.'),
    memory: Size.describe('Memory of the guest, in bytes or with a unit (Mi, Gi), e.g. 4Gi.'),
    disk: Size.describe(
      "Size of the guest's disk, in bytes or with a unit (Mi, Gi), e.g. 20Gi; its filesystem is grown to it. Where it is smaller than the template's disk, the VM gets the template's size.",
    ),
  })
  .describe('The sizes. Freely changeable; VMs that are already bound keep what they have.');
export type RunnerClassSpec = z.infer<typeof RunnerClassSpec>;

/** A size of VM. */
export interface RunnerClass {
  apiVersion: typeof API_VERSION;
  kind: 'RunnerClass';
  metadata: ObjectMeta;
  spec: RunnerClassSpec;
}
