import { randomUUID } from 'node:crypto';
import type { KubeObject, ObjectMeta, Stored } from '../../kube/object.ts';

/** The object as the API server would return it right after its creation. */
export function stored<T extends KubeObject>(object: T, metadata: Partial<ObjectMeta> = {}): Stored<T> {
  return {
    ...object,
    metadata: {
      uid: randomUUID(),
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...object.metadata,
      ...metadata,
    },
  } as Stored<T>;
}

/** A name that no other object has. */
export const uniqueName = (prefix: string): string => `${prefix}-${randomUUID().slice(0, 8)}`;
