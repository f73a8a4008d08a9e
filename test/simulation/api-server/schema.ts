import { jsonEqual } from '../../../kube/merge-patch.ts';
import { compileCel, Optional } from './cel.ts';

/** A structural schema as a CustomResourceDefinition has it, as far as this project's go. */
export interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly minItems?: number;
  readonly maxProperties?: number;
  readonly pattern?: string;
  readonly format?: string;
  readonly 'x-kubernetes-validations'?: readonly Rule[];
  readonly 'x-kubernetes-list-type'?: string;
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
}

interface Rule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

/** One field that is not as it should be. */
export interface FieldProblem {
  readonly field: string;
  readonly message: string;
}

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The value as it is stored: without fields that the schema does not know, with its defaults. The very same value
 * where nothing changes.
 */
export function conform(schema: Schema, value: unknown): unknown {
  if (isObject(value)) return conformObject(schema, value);
  if (!Array.isArray(value) || schema.items === undefined) return value;
  const { items } = schema;
  const conformed = value.map((item) => conform(items, item));
  return conformed.every((item, index) => item === value[index]) ? value : conformed;
}

function conformObject(schema: Schema, value: Fields): Fields {
  const { properties, additionalProperties } = schema;
  const result: Record<string, unknown> = {};
  let changed = false;
  for (const [name, member] of Object.entries(value)) {
    const inner =
      properties?.[name] ?? (isObject(additionalProperties) ? (additionalProperties as Schema) : undefined);
    const isKnown = inner !== undefined || properties === undefined || additionalProperties === true;
    if (!isKnown || member === undefined || (member === null && inner?.default !== undefined)) {
      changed = true;
      continue;
    }
    result[name] = inner === undefined ? member : conform(inner, member);
    changed ||= result[name] !== member;
  }
  for (const [name, inner] of Object.entries(properties ?? {})) {
    if (inner.default === undefined || Object.hasOwn(result, name)) continue;
    result[name] = conform(inner, inner.default);
    changed = true;
  }
  return changed ? result : value;
}

/** All that is wrong with a value. `old` is what is stored, if anything: what did not change is not judged anew. */
export function problemsOf(schema: Schema, value: unknown, old: unknown, path = ''): FieldProblem[] {
  if (value === old) return [];
  const wrong = shapeProblem(schema, value);
  if (wrong !== undefined) return [{ field: path, message: wrong }];
  const inside = isObject(value)
    ? memberProblems(schema, value, isObject(old) ? old : undefined, path)
    : Array.isArray(value)
      ? itemProblems(schema, value, Array.isArray(old) ? old : undefined, path)
      : [];
  // Rules speak of values whose shape is right.
  return inside.length > 0 ? inside : ruleProblems(schema, value, old, path);
}

function shapeProblem(schema: Schema, value: unknown): string | undefined {
  if (schema.type !== undefined && !hasType(schema.type, value)) return `must be of type ${schema.type}`;
  if (schema.enum !== undefined && !schema.enum.includes(value)) return 'Unsupported value';
  if (typeof value === 'number') {
    if (value < (schema.minimum ?? value)) return `should be greater than or equal to ${schema.minimum}`;
    if (value > (schema.maximum ?? value)) return `should be less than or equal to ${schema.maximum}`;
  }
  if (typeof value === 'string') {
    const length = [...value].length;
    if (length > (schema.maxLength ?? length)) return 'Too long';
    if (length < (schema.minLength ?? length)) return 'Too short';
    if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(value)) return 'does not match';
  }
  if (Array.isArray(value) && value.length > (schema.maxItems ?? value.length)) return 'Too many items';
  if (Array.isArray(value) && value.length < (schema.minItems ?? 0)) return 'Too few items';
  if (isObject(value) && Object.keys(value).length > (schema.maxProperties ?? 1e9)) return 'Too many';
  return undefined;
}

function hasType(type: string, value: unknown): boolean {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  return typeof value === type;
}

function memberProblems(
  schema: Schema,
  value: Fields,
  old: Fields | undefined,
  path: string,
): FieldProblem[] {
  const problems: FieldProblem[] = [];
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) problems.push({ field: `${path}.${name}`, message: 'Required value' });
  }
  for (const [name, member] of Object.entries(value)) {
    const inner =
      schema.properties?.[name] ??
      (isObject(schema.additionalProperties) ? (schema.additionalProperties as Schema) : undefined);
    if (inner !== undefined) problems.push(...problemsOf(inner, member, old?.[name], `${path}.${name}`));
  }
  return problems;
}

function itemProblems(
  schema: Schema,
  value: readonly unknown[],
  old: readonly unknown[] | undefined,
  path: string,
): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const { items } = schema;
  const keys = schema['x-kubernetes-list-map-keys'];
  const keyOf = (item: unknown): string => JSON.stringify(keys?.map((key) => isObject(item) && item[key]));
  const seen = new Set<string>();
  for (const [index, item] of value.entries()) {
    const field = `${path}[${index}]`;
    if (keys !== undefined) {
      if (seen.has(keyOf(item))) problems.push({ field, message: 'Duplicate value' });
      seen.add(keyOf(item));
    }
    // Items of a map are known by their keys; of other lists none corresponds to an old one.
    const before = keys === undefined ? undefined : old?.find((one) => keyOf(one) === keyOf(item));
    if (items !== undefined) problems.push(...problemsOf(items, item, before, field));
  }
  return problems;
}

const compiled = new WeakMap<Rule, ReturnType<typeof compileCel>>();

function ruleProblems(schema: Schema, value: unknown, old: unknown, path: string): FieldProblem[] {
  const problems: FieldProblem[] = [];
  for (const rule of schema['x-kubernetes-validations'] ?? []) {
    const isTransition = rule.rule.includes('oldSelf');
    if (isTransition && old === undefined && rule.optionalOldSelf !== true) continue;
    if (!isTransition && old !== undefined && jsonEqual(value, old)) continue;
    const holds = compiled.get(rule) ?? compileCel(rule.rule);
    compiled.set(rule, holds);
    const oldSelf = rule.optionalOldSelf ? new Optional(old) : old;
    if (!holdsFor(holds, { self: value, oldSelf })) {
      problems.push({ field: `${path}${rule.fieldPath ?? ''}`, message: rule.message });
    }
  }
  return problems;
}

/** A rule that cannot be evaluated is broken. */
function holdsFor(holds: ReturnType<typeof compileCel>, variables: Fields): boolean {
  try {
    return holds(variables);
  } catch {
    return false;
  }
}
