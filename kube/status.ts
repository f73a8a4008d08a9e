import { mergePatch } from './merge-patch.ts';
import type { KubeObject, Stored } from './object.ts';
import type { Resources } from './resources.ts';

/** An object whose status one writes. */
export interface WithStatus extends KubeObject {
  status?: object | undefined;
}

/** What became of a status write. */
export interface StatusWrite<T extends KubeObject> {
  /** False where the status was as it should be, and nothing was sent. */
  readonly written: boolean;
  /** The object as it is now, for the informer to learn. */
  readonly object: Stored<T>;
}

/**
 * Makes the status of `observed` the desired one: one fenced patch of what differs, or none at all. Members
 * that are missing in `desired` are removed. A 409 ApiError means that the object has changed since it was
 * observed: observe and decide again.
 */
export async function writeStatus<T extends WithStatus>(
  resources: Pick<Resources<T>, 'patchStatus'>,
  observed: Stored<T>,
  desired: NonNullable<T['status']>,
): Promise<StatusWrite<T>> {
  const patch = mergePatch(observed.status ?? {}, desired);
  if (patch === undefined) return { written: false, object: observed };
  const { resourceVersion } = observed.metadata;
  const object = await resources.patchStatus(observed.metadata, resourceVersion, { status: patch });
  return { written: true, object };
}
