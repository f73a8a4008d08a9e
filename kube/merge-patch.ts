/**
 * JSON merge patches (RFC 7386): objects are merged member by member, null removes a member, everything else,
 * arrays included, is replaced whole. Members that are undefined or null count as absent: the format
 * cannot express a null that is kept, and neither can the API server.
 */

/** The patch that turns `from` into `to`; undefined where they are equal. */
export function mergePatch(from: object, to: object): object | undefined {
  const patch: Record<string, unknown> = {};
  const before = members(from);
  const after = members(to);
  for (const key of before.keys()) {
    if (!after.has(key)) define(patch, key, null);
  }
  for (const [key, value] of after) {
    const old = before.get(key);
    if (isObject(value) && isObject(old)) {
      const inner = mergePatch(old, value);
      if (inner !== undefined) define(patch, key, inner);
    } else if (!jsonEqual(old, value)) {
      define(patch, key, withoutAbsent(value));
    }
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

/** What the API server makes of `target`. Neither argument is changed. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: Record<string, unknown> = {};
  for (const [key, value] of isObject(target) ? Object.entries(target) : []) define(result, key, value);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || value === undefined) delete result[key];
    else define(result, key, applyMergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value));
  }
  return result;
}

/** Equality of JSON values; members that are undefined or null count as absent, order of members does not. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b) || (isAbsent(a) && isAbsent(b))) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => jsonEqual(item, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return a === b;
  const left = members(a);
  const right = members(b);
  return (
    left.size === right.size &&
    [...left].every(([key, value]) => right.has(key) && jsonEqual(value, right.get(key)))
  );
}

function members(value: object): Map<string, unknown> {
  return new Map(Object.entries(value).filter(([, member]) => !isAbsent(member)));
}

/** A null inside a value that is set would remove nothing and be stored nowhere: it is left out. */
function withoutAbsent(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutAbsent(item) ?? null);
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = {};
  for (const [key, member] of members(value)) define(result, key, withoutAbsent(member));
  return result;
}

/** Plain assignment would run the setter of a member named __proto__. */
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
