import type { KubeObject, Stored } from '../kube/object.ts';

/** Tells people what happened, and what they must mend, as Events. Never blocks and never fails its caller. */
export interface Events {
  normal(regarding: Stored<KubeObject>, reason: string, note: string): void;
  warning(regarding: Stored<KubeObject>, reason: string, note: string): void;
}
