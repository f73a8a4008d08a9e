import { z } from 'zod';
import type { KindDefinition } from './kinds.ts';
import { VERSION } from './meta.ts';

/** Plain JSON, as it is written to a file. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/** The CustomResourceDefinition of one kind, ready to be written as YAML. */
export function customResourceDefinition(kind: KindDefinition): JsonObject {
  const { resource } = kind;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${resource.plural}.${resource.group}` },
    spec: {
      group: resource.group,
      names: {
        kind: resource.kind,
        listKind: `${resource.kind}List`,
        plural: resource.plural,
        singular: kind.singular,
        ...(kind.shortNames.length > 0 && { shortNames: kind.shortNames }),
        categories: ['shoesvz'],
      },
      scope: resource.namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        {
          name: resource.version,
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns.map((column) => ({ ...column })),
          ...(kind.selectableFields.length > 0 && {
            selectableFields: kind.selectableFields.map((jsonPath) => ({ jsonPath })),
          }),
          schema: { openAPIV3Schema: objectSchema(kind) },
          ...(kind.status !== undefined && { subresources: { status: {} } }),
        },
      ],
    },
  };
}

function objectSchema(kind: KindDefinition): JsonObject {
  return {
    type: 'object',
    description: kind.description,
    required: kind.specDefault === undefined ? ['spec'] : [],
    properties: {
      apiVersion: { type: 'string', description: `Always ${kind.resource.group}/${VERSION}.` },
      kind: { type: 'string', description: `Always ${kind.resource.kind}.` },
      metadata: { type: 'object' },
      spec: { ...structural(kind.spec), ...(kind.specDefault && { default: kind.specDefault }) },
      ...(kind.status && { status: { ...structural(kind.status), default: kind.statusDefault } }),
    },
  } as JsonObject;
}

/** The structural schema of a zod schema: what Kubernetes accepts of OpenAPI. */
export function structural(schema: z.ZodType): JsonObject {
  return z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    override: ({ jsonSchema }) => {
      tidyInteger(jsonSchema);
    },
  }) as JsonObject;
}

/** Bounds that only say "32 bits" become a format. */
function tidyInteger(schema: { [key: string]: unknown }): void {
  if (schema.type !== 'integer') return;
  schema.format ??= schema.maximum === Number.MAX_SAFE_INTEGER ? 'int64' : 'int32';
  if (schema.maximum === Number.MAX_SAFE_INTEGER || schema.maximum === 2147483647) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER || schema.minimum === -2147483648) delete schema.minimum;
}
