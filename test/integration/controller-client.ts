import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { isAlreadyExists, isForbidden } from '../../kube/errors.ts';
import { LEASES } from '../../kube/lease.ts';
import type { KubeObject, ObjectRef, ResourceType, Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';

const CONTROLLER_RBAC = fileURLToPath(new URL('../../deploy/rbac/controller.yaml', import.meta.url));
const CONTROLLER_USER = 'system:serviceaccount:shoesvz-system:shoes-vz-controller';

const PLURALS: Readonly<Record<string, string>> = {
  ServiceAccount: 'serviceaccounts',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  Role: 'roles',
  RoleBinding: 'rolebindings',
};

/** Creates the objects of a manifest, as `kubectl apply` does the first time. */
export async function applyManifest(client: KubeClient, path: string): Promise<void> {
  for (const document of parseAllDocuments(await readFile(path, 'utf8'))) {
    const object = document.toJS() as KubeObject;
    const [group, version] = object.apiVersion.includes('/')
      ? object.apiVersion.split('/')
      : ['', object.apiVersion];
    const type: ResourceType<KubeObject> = {
      group: group ?? '',
      version: version ?? '',
      kind: object.kind,
      plural: PLURALS[object.kind] ?? `${object.kind.toLowerCase()}s`,
      namespaced: object.metadata.namespace !== undefined,
    };
    await client
      .resources(type)
      .create(object)
      .catch((error: unknown) => {
        if (!isAlreadyExists(error)) throw error;
      });
  }
}

/** A client that acts as another user. The caller closes it. */
export async function impersonating(
  kubeconfig: string,
  directory: string,
  user: string,
  file = 'impersonating',
): Promise<KubeClient> {
  const config = parse(await readFile(kubeconfig, 'utf8')) as { users: { user: { as?: string } }[] };
  for (const entry of config.users) entry.user.as = user;
  const kubeconfigPath = join(directory, `${file}.kubeconfig`);
  await writeFile(kubeconfigPath, stringify(config), { mode: 0o600 });
  return loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-controller/test' });
}

/** A client with no more rights than deploy/ gives to the controller. The caller closes it. */
export async function controllerClient(
  admin: KubeClient,
  kubeconfig: string,
  directory: string,
): Promise<KubeClient> {
  await applyManifest(admin, CONTROLLER_RBAC);
  const client = await impersonating(kubeconfig, directory, CONTROLLER_USER);
  await takesEffect(async () => {
    await client.resources<Runner>(RUNNERS).list();
    await client.resources(LEASES).list({ namespace: SYSTEM_NAMESPACE });
  }, true);
  return client;
}

interface ClusterRole extends KubeObject {
  kind: 'ClusterRole';
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
}

const CLUSTER_ROLES: ResourceType<ClusterRole> = {
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
};

/** Takes from the controller the right to bind, or gives it back, and returns when that has taken effect. */
export async function mayBind(
  admin: KubeClient,
  controller: KubeClient,
  scratch: ObjectRef,
  may: boolean,
): Promise<void> {
  const roles = admin.resources(CLUSTER_ROLES);
  const role = await roles.get({ name: 'shoes-vz-controller' });
  if (role === undefined) throw new Error('the ClusterRole is gone');
  const isBinding = ({ resources }: ClusterRole['rules'][number]) => resources.join() === RUNNERS.plural;
  const rules = role.rules.map((rule) =>
    isBinding(rule) ? { ...rule, verbs: [may ? 'patch' : 'get', 'delete'] } : rule,
  );
  await roles.patch(role.metadata, role.metadata.resourceVersion, { rules });
  const runners = controller.resources<Runner>(RUNNERS);
  await takesEffect(async () => {
    const runner = await runners.get(scratch);
    await runners.patch(scratch, runner?.metadata.resourceVersion ?? '', {});
  }, may);
}

/** The API server learns of its own RBAC objects a moment after they were written. */
async function takesEffect(attempt: () => Promise<unknown>, allowed: boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    const isAllowed = await attempt().then(
      () => true,
      (error: unknown) => {
        if (isForbidden(error)) return false;
        throw error;
      },
    );
    if (isAllowed === allowed) return;
    await delay(20);
  }
  throw new Error('the RBAC objects have not taken effect');
}

/** One write, before it is sent. */
export interface Write {
  readonly verb: 'create' | 'patch' | 'patchStatus' | 'delete';
  readonly kind: string;
  readonly name: string;
}

/** Stands between a client and the API server. Each may throw, before or after the real call. */
export interface Interference {
  before?(write: Write): Promise<void> | void;
  after?(write: Write): Promise<void> | void;
}

/** The same client, with every write told to `interference`. */
export function interfered(client: KubeClient, interference: Interference): KubeClient {
  return {
    ...client,
    server: client.server,
    collection: (type) => client.collection(type),
    raw: (path) => client.raw(path),
    resources: <T extends KubeObject>(type: ResourceType<T>) =>
      interferedResources(client.resources(type), type.kind, interference),
  };
}

function interferedResources<T extends KubeObject>(
  real: Resources<T>,
  kind: string,
  interference: Interference,
): Resources<T> {
  const around = async <R>(verb: Write['verb'], ref: ObjectRef, call: () => Promise<R>): Promise<R> => {
    const write: Write = { verb, kind, name: ref.name };
    await interference.before?.(write);
    const result = await call();
    await interference.after?.(write);
    return result;
  };
  return {
    get: (ref) => real.get(ref),
    list: (options) => real.list(options),
    create: (object): Promise<Stored<T>> => around('create', object.metadata, () => real.create(object)),
    patch: (ref, version, patch) => around('patch', ref, () => real.patch(ref, version, patch)),
    patchStatus: (ref, version, patch) =>
      around('patchStatus', ref, () => real.patchStatus(ref, version, patch)),
    delete: (ref, options) => around('delete', ref, () => real.delete(ref, options)),
  };
}
