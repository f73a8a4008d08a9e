/** One entry of `x-kubernetes-validations`: a CEL rule that the API server enforces. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  /** Field that the error names, relative to where the rule stands. */
  readonly fieldPath?: string;
  /** `FieldValueForbidden` also keeps the refused value out of the error. */
  readonly reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired';
  /** Makes `oldSelf` an optional, so that the rule is judged on create too. */
  readonly optionalOldSelf?: true;
}

/** Metadata for a zod schema: rules beyond what a structural schema can say. */
export const celRules = (...rules: readonly CelRule[]) => ({ 'x-kubernetes-validations': rules });

/** The pattern as a CEL condition on `subject`. */
export const matches = (subject: string, pattern: RegExp): string =>
  `${subject}.matches(r'${pattern.source}')`;

/** A rule for an object that holds `field`: what it was on create, it stays. */
export function immutable(field: string, kind: string): CelRule {
  return {
    rule: `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`,
    message: `cannot be changed: delete the ${kind} and create a new one`,
    fieldPath: `.${field}`,
    reason: 'FieldValueForbidden',
  };
}
