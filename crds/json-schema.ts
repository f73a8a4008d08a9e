import { z } from 'zod';
import type { KindDefinition } from './kinds.ts';

/**
 * JSON Schema (draft 7) of one kind's manifests, for editors and for checking files before a server sees
 * them. Closed: an unknown field is an error.
 */
export function manifestSchema(kind: KindDefinition) {
  const { resource } = kind;
  const required = ['apiVersion', 'kind', 'metadata', ...(kind.specDefault === undefined ? ['spec'] : [])];
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: resource.kind,
    description: kind.description,
    type: 'object',
    required,
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

function closedSchema(schema: z.ZodType): object {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
    override: ({ jsonSchema }) => {
      const node: Record<string, unknown> = jsonSchema;
      if (node.properties !== undefined) node.additionalProperties ??= false;
      for (const key of Object.keys(node)) if (key.startsWith('x-kubernetes-')) delete node[key];
    },
  });
  return json;
}
