import { z } from 'zod';
import { Timestamp } from './scalars.ts';

/** API group and version of every kind here. */
export const GROUP = 'shoesvz.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** Namespace of the Leases and of the Secrets that Templates name. */
export const SYSTEM_NAMESPACE = 'shoesvz-system';

/** Lease in the system namespace that the controller which works holds. No host can have this name. */
export const CONTROLLER_LEASE = 'shoes-vz-controller';

/** Runner finalizer of one attempt on one host; it stands until that VM was observed gone. */
export const finalizerName = (hostName: string, attempt: number): string =>
  `vm.shoesvz.dev/${hostName}.${attempt}`;

const VM_FINALIZER = /^vm\.shoesvz\.dev\/(.+)\.([1-9][0-9]*)$/;

/** A finalizer that stands for a VM, or for what may be one. */
export interface VmHold {
  readonly finalizer: string;
  readonly hostName: string;
  readonly attempt: number;
}

/** What hosts hold of a Runner, by its finalizers; see {@link finalizerName}. */
export function holdsOf(metadata: Pick<ObjectMeta, 'finalizers'>): VmHold[] {
  return (metadata.finalizers ?? []).flatMap((finalizer) => {
    const [, hostName, attempt] = VM_FINALIZER.exec(finalizer) ?? [];
    return hostName === undefined ? [] : [{ finalizer, hostName, attempt: Number(attempt) }];
  });
}

/** A condition as Kubernetes' API conventions define it (metav1.Condition). */
export const Condition = z.object({
  type: z.string().min(1).max(64).describe('Name of the condition, in CamelCase.'),
  status: z
    .enum(['True', 'False', 'Unknown'])
    .describe('Whether the condition holds: True, False, or Unknown where nobody can tell.'),
  reason: z.string().max(64).describe('Why, as one CamelCase word for programs.'),
  message: z.string().max(1024).describe('Why, as a sentence for people.'),
  lastTransitionTime: Timestamp.describe('When the status last changed, as RFC 3339 writes times.'),
  observedGeneration: z
    .number()
    .int()
    .min(-1)
    .optional()
    .describe('The metadata.generation that was judged.'),
});
export type Condition = z.infer<typeof Condition>;

/** The conditions of one object: a map keyed by type, so that each writer patches its own. */
export const conditions = (description: string) =>
  z
    .array(Condition.describe('One condition.'))
    .max(16)
    .optional()
    .meta({
      description,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    });

/** The field of every status by which tools tell an old status from a present one. */
export const observedGeneration = z
  .number()
  .int()
  .min(-1)
  .default(-1)
  .describe(
    "The metadata.generation that this status tells of. While it differs from the object's, the status is of an older spec. -1, the default: nobody has looked yet.",
  );

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
