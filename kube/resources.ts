import type { KubeObject, ObjectRef, Stored } from './object.ts';

/** One page or stream position of a collection. */
export interface ListResult<T extends KubeObject> {
  readonly items: Stored<T>[];
  readonly resourceVersion: string;
}

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Absent: a quorum read. '0': whatever the watch cache holds. */
  readonly resourceVersion?: string | undefined;
}

/** What must be so for an object to be deleted. */
export interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

/**
 * Typed verbs on one kind. Each call has a timeout (10 s unless the client says otherwise), is aborted by
 * the client's stop signal, and throws {@link ApiError} for an answer that is not a success, or
 * ApiUnreachable where no answer came.
 */
export interface Resources<T extends KubeObject> {
  /** A quorum read; undefined where the server positively says 404. */
  get(ref: ObjectRef): Promise<Stored<T> | undefined>;
  /** All pages. A quorum read unless `resourceVersion` says otherwise. */
  list(options?: ListOptions): Promise<ListResult<T>>;
  create(object: T): Promise<Stored<T>>;
  /** JSON merge patch of the main resource, fenced: a 409 where resourceVersion is not current. */
  patch(ref: ObjectRef, resourceVersion: string, patch: object): Promise<Stored<T>>;
  /** JSON merge patch of `/status`, fenced likewise. */
  patchStatus(ref: ObjectRef, resourceVersion: string, patch: object): Promise<Stored<T>>;
  /**
   * Idempotent: false where there was nothing, or, with `uid`, another object. With `resourceVersion`: a 409 where
   * that is not current.
   */
  delete(ref: ObjectRef, options?: Preconditions): Promise<boolean>;
}
