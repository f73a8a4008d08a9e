import type { KubeClient } from './client.ts';
import { ApiUnreachable } from './errors.ts';
import type { KubeObject } from './object.ts';
import type { Resources } from './resources.ts';

/**
 * The same client for a process that may write at times only. `mayWrite` is asked right before each write is handed
 * on; where it says no, nothing is sent, and the write throws ApiUnreachable with reason `Stopped`. Reads go on.
 */
export function guardWrites(client: KubeClient, mayWrite: () => boolean): KubeClient {
  const guard = async <R>(write: () => Promise<R>): Promise<R> => {
    if (mayWrite()) return await write();
    throw new ApiUnreachable(client.server, 'Stopped', 'this process may not write any more');
  };
  return {
    server: client.server,
    collection: (type) => client.collection(type),
    resources: (type) => guardResources(client.resources(type), guard),
    raw: async (path) => await client.raw(path),
    version: async () => await client.version(),
    close: async () => await client.close(),
  };
}

function guardResources<T extends KubeObject>(
  real: Resources<T>,
  guard: <R>(write: () => Promise<R>) => Promise<R>,
): Resources<T> {
  return {
    get: async (ref) => await real.get(ref),
    list: async (options) => await real.list(options),
    create: async (object) => await guard(() => real.create(object)),
    patch: async (ref, version, patch) => await guard(() => real.patch(ref, version, patch)),
    patchStatus: async (ref, version, patch) => await guard(() => real.patchStatus(ref, version, patch)),
    delete: async (ref, options) => await guard(() => real.delete(ref, options)),
  };
}
