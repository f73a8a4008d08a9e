/** A condition as Kubernetes' API conventions define it (metav1.Condition). */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  lastTransitionTime: string;
  observedGeneration?: number | undefined;
}

/**
 * The conditions with one of them set; the very same array where that changes nothing. `lastTransitionTime`
 * becomes `nowIso` (RFC 3339) only where the status changes. Others keep their places.
 */
export function setCondition(
  conditions: Condition[] | undefined,
  next: Omit<Condition, 'lastTransitionTime'>,
  nowIso: string,
): Condition[] {
  const old = getCondition(conditions, next.type);
  const lastTransitionTime = old?.status === next.status ? old.lastTransitionTime : nowIso;
  const set: Condition = { ...next, lastTransitionTime };
  if (conditions === undefined || old === undefined) return [...(conditions ?? []), set];
  if (isSame(old, set)) return conditions;
  return conditions.map((condition) => (condition === old ? set : condition));
}

export function getCondition(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Without the condition; the very same array where there was none. */
export function removeCondition(conditions: Condition[], type: string): Condition[] {
  return getCondition(conditions, type) === undefined
    ? conditions
    : conditions.filter((condition) => condition.type !== type);
}

/** Whether the condition is there and True. */
export function isTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return getCondition(conditions, type)?.status === 'True';
}

function isSame(a: Condition, b: Condition): boolean {
  return (
    a.status === b.status &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.observedGeneration === b.observedGeneration
  );
}
