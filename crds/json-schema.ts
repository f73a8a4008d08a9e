import { z } from 'zod';
import type { JsonObject } from './custom-resource-definition.ts';
import type { KindDefinition } from './kinds.ts';

/**
 * JSON Schema (draft 7) of one kind's manifests, for editors and for checking files before a server sees
 * them. Closed: an unknown field is an error.
 */
export function manifestSchema(kind: KindDefinition): JsonObject {
  const { resource } = kind;
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: resource.kind,
    description: kind.description,
    type: 'object',
    required:
      kind.specDefault === undefined
        ? ['apiVersion', 'kind', 'metadata', 'spec']
        : ['apiVersion', 'kind', 'metadata'],
    additionalProperties: false,
    properties: {
      apiVersion: { const: `${resource.group}/${resource.version}` },
      kind: { const: resource.kind },
      metadata: { type: 'object' },
      spec: closedSchema(kind.spec),
      ...(kind.status && { status: closedSchema(kind.status) }),
    },
  };
}

function closedSchema(schema: z.ZodType): JsonObject {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
    override: ({ jsonSchema }) => {
      const node: { [key: string]: unknown } = jsonSchema;
      if (node.properties !== undefined) node.additionalProperties ??= false;
      for (const key of Object.keys(node)) if (key.startsWith('x-kubernetes-')) delete node[key];
    },
  });
  return json as JsonObject;
}
