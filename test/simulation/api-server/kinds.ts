import { customResourceDefinition } from '../../../crds/custom-resource-definition.ts';
import { KINDS } from '../../../crds/kinds.ts';
import type { Schema } from './schema.ts';

/** What the server knows of one kind that it serves. */
export interface ServedKind {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Absent: objects are stored as they come. */
  readonly schema?: Schema | undefined;
  readonly hasStatus: boolean;
  /** Whether metadata.generation is counted. */
  readonly hasGeneration: boolean;
  /** Besides metadata.name and metadata.namespace: `spec.binding.hostName`. */
  readonly selectableFields: readonly string[];
}

/** The kinds of this project, as their CustomResourceDefinitions describe them. */
export const CUSTOM_KINDS: readonly ServedKind[] = KINDS.map((definition) => {
  const { group, plural, kind, namespaced } = definition.resource;
  const [version] = customResourceDefinition(definition).spec.versions;
  return {
    ...{ group, plural, kind, namespaced },
    schema: version?.schema.openAPIV3Schema as unknown as Schema,
    hasStatus: definition.status !== undefined,
    hasGeneration: true,
    selectableFields: definition.selectableFields.map((path) => path.replace(/^\./, '')),
  };
});

const builtIn = (group: string, plural: string, kind: string): ServedKind => ({
  ...{ group, plural, kind },
  namespaced: true,
  hasStatus: false,
  hasGeneration: false,
  selectableFields: [],
});

/** Kubernetes' own kinds that this project uses. Their objects are not validated. */
export const BUILT_IN_KINDS: readonly ServedKind[] = [
  builtIn('coordination.k8s.io', 'leases', 'Lease'),
  builtIn('events.k8s.io', 'events', 'Event'),
  builtIn('', 'secrets', 'Secret'),
  builtIn('', 'configmaps', 'ConfigMap'),
];
