import { z } from 'zod';

/** API group and version of every kind here. */
export const GROUP = 'shoesvz.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** Namespace of host Leases and of the Secrets that Templates name. */
export const SYSTEM_NAMESPACE = 'shoesvz-system';

/** Runner finalizer of one attempt on one host; it stands until that VM was observed gone. */
export const finalizerName = (hostName: string, attempt: number): string =>
  `vm.shoesvz.dev/${hostName}.${attempt}`;

/** A condition as Kubernetes' API conventions define it (metav1.Condition). */
export const Condition = z.object({
  type: z.string().max(64).describe('Name of the condition, in CamelCase.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether the condition holds.'),
  reason: z.string().max(64).describe('Why, as one CamelCase word for programs.'),
  message: z.string().max(1024).describe('Why, as a sentence for people.'),
  lastTransitionTime: z
    .string()
    .max(40)
    .meta({ format: 'date-time' })
    .describe('When the status last changed.'),
  observedGeneration: z.number().int().optional().describe('The generation of the spec that was judged.'),
});
export type Condition = z.infer<typeof Condition>;

/** The conditions of one object: a map keyed by type, so that each writer patches its own. */
export const conditions = (description: string) =>
  z
    .array(Condition)
    .max(16)
    .optional()
    .meta({
      description,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    });

/** The part of Kubernetes' ObjectMeta that this project reads or writes. */
export interface ObjectMeta {
  name: string;
  namespace?: string | undefined;
  uid?: string | undefined;
  resourceVersion?: string | undefined;
  generation?: number | undefined;
  creationTimestamp?: string | undefined;
  deletionTimestamp?: string | undefined;
  labels?: Record<string, string> | undefined;
  annotations?: Record<string, string> | undefined;
  finalizers?: string[] | undefined;
}
