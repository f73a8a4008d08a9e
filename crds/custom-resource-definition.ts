import { z } from 'zod';
import type { KindDefinition } from './kinds.ts';

/** Plain JSON, as it is written to a file. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** The CustomResourceDefinition of one kind. */
export function customResourceDefinition(kind: KindDefinition) {
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
          additionalPrinterColumns: kind.columns,
          ...(kind.selectableFields.length > 0 && {
            selectableFields: kind.selectableFields.map((jsonPath) => ({ jsonPath })),
          }),
          schema: { openAPIV3Schema: objectSchema(kind) },
          ...(kind.status && { subresources: { status: {} } }),
        },
      ],
    },
  };
}

function objectSchema(kind: KindDefinition) {
  const { resource } = kind;
  return {
    type: 'object',
    description: kind.description,
    ...(kind.specDefault === undefined && { required: ['spec'] }),
    properties: {
      apiVersion: { type: 'string', description: `Always ${resource.group}/${resource.version}.` },
      kind: { type: 'string', description: `Always ${resource.kind}.` },
      metadata: { type: 'object', properties: { name: { type: 'string' } } },
      spec: { ...structuralSchema(kind.spec), ...(kind.specDefault && { default: kind.specDefault }) },
      ...(kind.status && { status: { ...structuralSchema(kind.status), default: kind.statusDefault } }),
    },
    ...(kind.rules.length > 0 && { 'x-kubernetes-validations': kind.rules }),
  };
}

type SchemaNode = Record<string, unknown>;

/** What Kubernetes accepts of OpenAPI: the schema without what only a JSON Schema can say. */
function structuralSchema(schema: z.ZodType): object {
  return z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    override: ({ jsonSchema }) => {
      const node: SchemaNode = jsonSchema;
      leaveToRules(node);
      formatInteger(node);
    },
  });
}

/**
 * What a CEL rule beside it says, with a message for people, is not said a second time: the API server
 * judges schemas first, and its words for a pattern or a `oneOf` help nobody.
 */
function leaveToRules(node: SchemaNode): void {
  if (!('x-kubernetes-validations' in node)) return;
  for (const keyword of ['pattern', 'oneOf', 'if', 'then']) delete node[keyword];
}

/** Bounds that only say how wide an integer is become its format. */
function formatInteger(node: SchemaNode): void {
  if (node.type !== 'integer') return;
  node.format ??= node.maximum === Number.MAX_SAFE_INTEGER ? 'int64' : 'int32';
  if (node.maximum === Number.MAX_SAFE_INTEGER || node.maximum === 2147483647) delete node.maximum;
  if (node.minimum === Number.MIN_SAFE_INTEGER || node.minimum === -2147483648) delete node.minimum;
}
