import type { KubeObject, ObjectRef, ResourceType } from './object.ts';

/** URL path of a collection; of all namespaces where none is given. */
export function collectionPath<T extends KubeObject>(type: ResourceType<T>, namespace?: string): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  if (namespace === undefined) return `${root}/${type.plural}`;
  if (!type.namespaced) throw new TypeError(`${type.kind} is cluster-scoped: no namespace expected`);
  return `${root}/namespaces/${encodeURIComponent(namespace)}/${type.plural}`;
}

/** URL path of one object. */
export function objectPath<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef): string {
  if (type.namespaced && ref.namespace === undefined) throw new TypeError(`${type.kind} needs a namespace`);
  if (ref.name === '') throw new TypeError(`${type.kind} needs a name`);
  return `${collectionPath(type, type.namespaced ? ref.namespace : undefined)}/${encodeURIComponent(ref.name)}`;
}

/** Key of an object in stores and queues: `namespace/name`, or `name` for cluster-scoped kinds. */
export function objectKey(ref: ObjectRef): string {
  return ref.namespace === undefined || ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** The reverse of {@link objectKey}. */
export function refOfKey(key: string): ObjectRef {
  const slash = key.indexOf('/');
  return slash === -1 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
