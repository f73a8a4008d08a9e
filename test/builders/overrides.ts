/** What a builder can be told: any part of the object, however deep. */
export type Overrides<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [K in keyof T]?: Overrides<T[K]> | undefined }
    : T;

/**
 * The object with the overrides in it: objects are merged, lists and everything else replaced, and a field
 * that is overridden with `undefined` is left out.
 */
export function withOverrides<T extends object>(base: T, overrides: Overrides<NoInfer<T>> | undefined): T {
  return merge(base, overrides ?? {}) as T;
}

function merge(base: object, overrides: object): object {
  const merged = new Map<string, unknown>(Object.entries(base));
  for (const [key, value] of Object.entries(overrides)) {
    const below = merged.get(key);
    if (value === undefined) merged.delete(key);
    else merged.set(key, isRecord(value) && isRecord(below) ? merge(below, value) : value);
  }
  return Object.fromEntries(merged);
}

const isRecord = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
