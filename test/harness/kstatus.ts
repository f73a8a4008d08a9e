import type { Condition } from '../../crds/meta.ts';
import type { KubeObject } from '../../kube/object.ts';

/** What kstatus says of a custom resource. */
export type Verdict = 'InProgress' | 'Current' | 'Failed' | 'Terminating';

/** The part of an object that kstatus looks at. */
export interface Judged extends KubeObject {
  readonly status?:
    | { readonly observedGeneration?: number; readonly conditions?: readonly Condition[] | undefined }
    | undefined;
}

/**
 * The rules that kstatus publishes for kinds it does not know, in their order: what Flux, kapp and others wait
 * by. Source: sigs.k8s.io/cli-utils at 5895ad6, pkg/kstatus: README.md, and in status/ generic.go
 * (deletion, generation, Reconciling, Stalled) and status.go (Ready, and the verdict where nothing is said).
 */
export function kstatus({ metadata, status }: Judged): Verdict {
  if (metadata.deletionTimestamp !== undefined) return 'Terminating';
  const observed = status?.observedGeneration;
  if (metadata.generation !== undefined && observed !== undefined && observed !== metadata.generation) {
    return 'InProgress';
  }
  const conditions = status?.conditions ?? [];
  const abnormal = conditions.find(
    (condition) => ABNORMAL.has(condition.type) && condition.status === 'True',
  );
  if (abnormal !== undefined) return ABNORMAL.get(abnormal.type) ?? 'Current';
  const ready = conditions.find(({ type }) => type === 'Ready');
  return ready === undefined || ready.status === 'True' ? 'Current' : 'InProgress';
}

/** Conditions that are there only when something is out of the ordinary. The first one in the list counts. */
const ABNORMAL: ReadonlyMap<string, Verdict> = new Map([
  ['Reconciling', 'InProgress'],
  ['Stalled', 'Failed'],
]);
