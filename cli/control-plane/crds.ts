import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { GROUP, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import type { KubeClient } from '../../kube/client.ts';
import { ApiError, isAlreadyExists, isConflict } from '../../kube/errors.ts';
import type { KubeObject, ResourceType, Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { ControlPlaneError, oneLine } from './error.ts';

/** A CustomResourceDefinition, as far as it is looked into here. */
interface Crd extends KubeObject {
  kind: 'CustomResourceDefinition';
  spec: CrdSpec;
  /** The conditions are null at first. */
  status?: { conditions?: { type: string; status: string; message?: string }[] | null };
}

interface CrdSpec {
  group: string;
  scope: string;
  names: { kind: string; plural: string; shortNames?: string[]; categories?: string[] };
  versions: { name: string; served: boolean; storage: boolean }[];
}

const CRDS: ResourceType<Crd> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

interface Namespace extends KubeObject {
  kind: 'Namespace';
}

const NAMESPACES: ResourceType<Namespace> = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};

/** What a generated file must be at least; the API server judges the rest. */
const CrdFile = z.looseObject({
  apiVersion: z.literal('apiextensions.k8s.io/v1'),
  kind: z.literal('CustomResourceDefinition'),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({
    group: z.literal(GROUP),
    scope: z.string(),
    names: z.looseObject({
      kind: z.string(),
      plural: z.string(),
      shortNames: z.array(z.string()).optional(),
      categories: z.array(z.string()).optional(),
    }),
    versions: z.array(z.looseObject({ name: z.string(), served: z.boolean(), storage: z.boolean() })).min(1),
  }),
});

/** The CRDs that `npm run generate` writes. */
export const GENERATED_CRDS = fileURLToPath(new URL('../../crds/generated/', import.meta.url));

const ESTABLISHED_TIMEOUT_MS = 30_000;
const UPDATE_ATTEMPTS = 5;

/**
 * Creates or updates the CRDs of a directory, waits until the API server serves them, and ensures the system
 * namespace. Writes nothing where all is as it should be. Rejects with CrdConflict where the server has a CRD
 * of ours of another version, before anything was written, and with CrdsMissing where the directory has none.
 */
export async function installCrds(client: KubeClient, directory: string = GENERATED_CRDS): Promise<void> {
  const wanted = await readCrds(directory);
  const resources = client.resources(CRDS);
  const existing = await Promise.all(wanted.map((crd) => resources.get({ name: crd.metadata.name })));
  for (const [index, crd] of wanted.entries()) refuseOtherVersion(crd, existing[index]);
  await Promise.all([
    ...wanted.map((crd, index) => apply(resources, crd, existing[index])),
    ensureNamespace(client, SYSTEM_NAMESPACE),
  ]);
  await waitForEstablished(client, wanted);
}

async function readCrds(directory: string): Promise<Crd[]> {
  const files = await readdir(directory).catch((error: unknown) => {
    throw new ControlPlaneError('CrdsMissing', `CRDs: ${directory} cannot be read: ${oneLine(error)}`);
  });
  const crds: Crd[] = [];
  for (const file of files.filter((name) => name.endsWith('.yaml')).sort()) {
    const path = join(directory, file);
    const parsed = CrdFile.safeParse(parse(await readFile(path, 'utf8')));
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      const message = `CRDs: ${path} is no CRD of ${GROUP} (${issue?.path.join('.')}: ${issue?.message}); run: npm run generate`;
      throw new ControlPlaneError('CrdsMissing', message);
    }
    crds.push(parsed.data satisfies Crd);
  }
  if (crds.length > 0) return crds;
  throw new ControlPlaneError('CrdsMissing', `CRDs: ${directory} holds no .yaml file; run: npm run generate`);
}

/** An older shoes-vz must not take away what a newer one stores in. */
function refuseOtherVersion(wanted: Crd, existing: Stored<Crd> | undefined): void {
  if (existing === undefined) return;
  const { name } = wanted.metadata;
  if (existing.metadata.deletionTimestamp !== undefined) {
    throw new ControlPlaneError(
      'CrdConflict',
      `CRD ${name} on the API server is being deleted; wait until it is gone`,
    );
  }
  const difference = differenceInKind(wanted.spec, existing.spec);
  if (difference === undefined) return;
  throw new ControlPlaneError(
    'CrdConflict',
    `CRD ${name} on the API server has ${difference}; use the shoes-vz that installed it, or delete the CRD with all its objects`,
  );
}

/** What an update cannot or must not overwrite. */
function differenceInKind(wanted: CrdSpec, existing: CrdSpec): string | undefined {
  const ours = wanted.versions.map((version) => version.name);
  const foreign = existing.versions.map((version) => version.name).filter((name) => !ours.includes(name));
  if (foreign.length > 0) {
    return `version ${foreign.join(', ')}, while this shoes-vz knows ${ours.join(', ')}`;
  }
  if (existing.scope === wanted.scope) return undefined;
  return `scope ${existing.scope}, while this shoes-vz knows ${wanted.scope}`;
}

async function apply(resources: Resources<Crd>, wanted: Crd, found: Stored<Crd> | undefined): Promise<void> {
  let existing = found;
  for (let attempt = 1; ; attempt++) {
    try {
      if (existing === undefined) {
        await resources.create(wanted);
        return;
      }
      await resources.patch({ name: wanted.metadata.name }, existing.metadata.resourceVersion, {
        spec: replacing(wanted.spec),
      });
      return;
    } catch (error) {
      // Another process installs the same CRDs.
      if (!(isAlreadyExists(error) || isConflict(error)) || attempt === UPDATE_ATTEMPTS) throw error;
      existing = await resources.get({ name: wanted.metadata.name });
      refuseOtherVersion(wanted, existing);
    }
  }
}

/** A merge patch leaves what it does not name: lists that are absent now are named. */
const replacing = (spec: CrdSpec): object => ({
  ...spec,
  names: {
    ...spec.names,
    shortNames: spec.names.shortNames ?? null,
    categories: spec.names.categories ?? null,
  },
});

async function ensureNamespace(client: KubeClient, name: string): Promise<void> {
  const namespaces = client.resources(NAMESPACES);
  if ((await namespaces.get({ name })) !== undefined) return;
  await namespaces
    .create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    .catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
}

/** Waits until each CRD is established and its kind is served, which comes a moment later. */
async function waitForEstablished(client: KubeClient, wanted: readonly Crd[]): Promise<void> {
  const missing = new Map(wanted.map((crd) => [crd.metadata.name, crd]));
  const signal = AbortSignal.timeout(ESTABLISHED_TIMEOUT_MS);
  const events = client.collection(CRDS).watch({ initialEvents: true, timeoutSeconds: 60, signal });
  let complaint = '';
  try {
    for await (const event of events) {
      if (event.type === 'BOOKMARK') continue;
      const conditions = event.object.status?.conditions ?? [];
      const refused = conditions.find((one) => one.type === 'NamesAccepted' && one.status === 'False');
      if (refused !== undefined) complaint = ` (${event.object.metadata.name}: ${refused.message})`;
      if (conditions.some((one) => one.type === 'Established' && one.status === 'True')) {
        missing.delete(event.object.metadata.name);
      }
      if (missing.size === 0) break;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  if (missing.size > 0) {
    const names = [...missing.keys()].join(', ');
    const message = `CRDs ${names} were not established after ${ESTABLISHED_TIMEOUT_MS / 1000} s${complaint}`;
    throw new ControlPlaneError('CrdConflict', message);
  }
  await Promise.all(wanted.map((crd) => waitUntilServed(client, crd, signal)));
}

async function waitUntilServed(client: KubeClient, crd: Crd, signal: AbortSignal): Promise<void> {
  const collection = client.collection<KubeObject>({
    group: crd.spec.group,
    version: crd.spec.versions[0]?.name ?? '',
    plural: crd.spec.names.plural,
    kind: crd.spec.names.kind,
    namespaced: crd.spec.scope === 'Namespaced',
  });
  for (;;) {
    try {
      await collection.listPage({ limit: 1 });
      return;
    } catch (error) {
      const notYet = error instanceof ApiError && error.reason === 'KindNotServed';
      if (!notYet || signal.aborted) throw error;
    }
    // The API server tells nobody when a handler is in place.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
