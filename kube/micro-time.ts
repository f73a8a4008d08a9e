/** Kubernetes' MicroTime: RFC 3339 in UTC with exactly six digits of a second's fraction. */
export function microTime(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/Z$/, '000Z');
}
