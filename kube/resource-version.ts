const NUMERIC = /^(0|[1-9][0-9]*)$/;

/**
 * Order of two resourceVersions of one kind: negative, 0, positive as for sort(); undefined where one of them
 * is no decimal number, which nothing may be concluded from. Works beyond 2^53.
 */
export function compareResourceVersions(a: string, b: string): number | undefined {
  if (!NUMERIC.test(a) || !NUMERIC.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
