import fc from 'fast-check';
import { z } from 'zod';

/**
 * Arbitrary values that the schema accepts as input; fields with a default are left out now and then. Knows
 * the kinds of schema that `crds/` uses, and throws on others.
 */
export const arbitraryOf = (schema: z.ZodType): fc.Arbitrary<unknown> =>
  candidates(schema).filter((value) => schema.safeParse(value).success);

/** Values that mostly fit: what a refinement forbids is filtered out afterwards, at each level. */
function candidates(schema: z.ZodType): fc.Arbitrary<unknown> {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) return inner(schema.unwrap());
  if (schema instanceof z.ZodObject) return object(schema.shape);
  if (schema instanceof z.ZodArray) return list(inner(schema.element));
  if (schema instanceof z.ZodRecord) return labels(inner(schema.keyType), inner(schema.valueType));
  if (schema instanceof z.ZodEnum) return fc.constantFrom(...schema.options);
  if (schema instanceof z.ZodBoolean) return fc.boolean();
  if (schema instanceof z.ZodNumber) return integer(schema);
  if (schema instanceof z.ZodString) return text(schema);
  throw new Error(`no arbitrary for ${schema.type}`);
}

/** The parts of a schema are typed by zod's core, which says nothing of parsing. */
const inner = (part: unknown): fc.Arbitrary<unknown> => {
  if (part instanceof z.ZodType) return arbitraryOf(part);
  throw new Error('not a schema');
};

function object(shape: Readonly<Record<string, z.ZodType>>): fc.Arbitrary<unknown> {
  const fields = Object.entries(shape);
  const values = Object.fromEntries(fields.map(([name, field]) => [name, arbitraryOf(field)]));
  const requiredKeys = fields
    .filter(([, field]) => !field.safeParse(undefined).success)
    .map(([name]) => name);
  return fc.record(values, { requiredKeys, noNullPrototype: true });
}

/** Lists are maps in Kubernetes, keyed by type or name: no key comes twice. */
const list = (element: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.uniqueArray(element, {
    maxLength: 3,
    selector: (item) => {
      const { type, name } = Object(item);
      return type ?? name;
    },
  });

const labels = (key: fc.Arbitrary<unknown>, value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.array(fc.tuple(key, value), { maxLength: 4 }).map((entries) => Object.fromEntries(entries));

const integer = (schema: z.ZodNumber): fc.Arbitrary<number> =>
  fc.integer({
    min: Math.max(schema.minValue ?? -(2 ** 31), -(2 ** 31)),
    max: Math.min(schema.maxValue ?? 2 ** 31 - 1, 2 ** 31 - 1),
  });

function text(schema: z.ZodString): fc.Arbitrary<string> {
  const { pattern, format } = z.toJSONSchema(schema);
  if (format === 'date-time') {
    const years = { min: new Date('1970-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z') };
    return fc.date({ ...years, noInvalidDate: true }).map((date) => date.toISOString());
  }
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  return fc.string({ minLength: schema.minLength ?? 0, maxLength: Math.min(schema.maxLength ?? 32, 32) });
}
