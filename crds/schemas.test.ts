import { Ajv } from 'ajv';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arbitraryOf } from '../test/builders/arbitrary.ts';
import { customResourceDefinition } from './custom-resource-definition.ts';
import { manifestSchema } from './json-schema.ts';
import { KINDS, type KindDefinition } from './kinds.ts';
import { API_VERSION } from './meta.ts';
import { RunnerSpec } from './runner.ts';
import { IMMUTABLE_FIELDS, MUTABLE_FIELDS } from './runner-rules.ts';

const kinds = KINDS.map((kind): [string, KindDefinition] => [kind.resource.kind, kind]);

const manifestOf = (kind: KindDefinition, spec: unknown, status?: unknown) => ({
  apiVersion: API_VERSION,
  kind: kind.resource.kind,
  metadata: { name: 'x' },
  spec,
  ...(status !== undefined && { status }),
});

/** The validator of a kind's JSON Schema, strict so that a keyword it does not know is an error. */
const validatorOf = (kind: KindDefinition) =>
  new Ajv({ strict: true, strictRequired: false, allErrors: true, formats: { 'date-time': true } }).compile(
    manifestSchema(kind),
  );

describe.each(kinds)('%s', (_, kind) => {
  const validate = validatorOf(kind);

  test('what the zod schemas accept, the JSON Schema accepts', () => {
    const manifests = fc
      .tuple(arbitraryOf(kind.spec), kind.status ? arbitraryOf(kind.status) : fc.constant(undefined))
      .map(([spec, status]) => manifestOf(kind, spec, status));
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(validate(manifest) ? [] : validate.errors).toEqual([]);
      }),
    );
  });

  test('an unknown field is an error that names it', () => {
    expect(validate(manifestOf(kind, { tempalte: 'x' }))).toBe(false);
    expect(validate.errors).toContainEqual(
      expect.objectContaining({ params: { additionalProperty: 'tempalte' }, instancePath: '/spec' }),
    );
  });

  test('every field has a description that is a sentence', () => {
    const { properties } = customResourceDefinition(kind).spec.versions[0]?.schema.openAPIV3Schema ?? {};
    const { metadata: _metadata, ...ours } = Object(properties);
    const undescribed = undescribedFields({ properties: ours }, '');
    expect(undescribed).toEqual([]);
  });

  test('the status of a new object, if it has one, is of no generation', () => {
    expect(kind.statusDefault?.observedGeneration).toBe(kind.status && -1);
    if (kind.status) expect(kind.status.parse(kind.statusDefault)).toEqual(kind.statusDefault);
  });
});

test('every field of a Runner either may change or may not', () => {
  expect([...IMMUTABLE_FIELDS, ...MUTABLE_FIELDS].sort()).toEqual(Object.keys(RunnerSpec.shape).sort());
});

test.each([
  ['both sources of a script', { setupScript: { inline: 'x', secretKeyRef: { name: 'a', key: 'b' } } }],
  ['no source of a script', { setupScript: {} }],
  ['completion Script without a script', { completion: 'Script' }],
])('%s is refused by zod and by the JSON Schema', (_, fields) => {
  const spec = { templateName: 'linux', ...fields };
  expect(RunnerSpec.safeParse(spec).success).toBe(false);
  const runner = KINDS.find((kind) => kind.resource.kind === 'Runner');
  if (runner === undefined) throw new Error('no Runner');
  expect(validatorOf(runner)(manifestOf(runner, spec))).toBe(false);
});

interface SchemaNode {
  description?: string;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
}

function undescribedFields(node: SchemaNode, path: string): string[] {
  const below = Object.entries(node.properties ?? {});
  if (node.items) below.push(['[]', node.items]);
  return below.flatMap(([name, field]) => {
    const here = `${path}.${name}`;
    const described = /^[A-Z].{4,}\.$/s.test(field.description ?? '');
    return [...(described ? [] : [here]), ...undescribedFields(field, here)];
  });
}
