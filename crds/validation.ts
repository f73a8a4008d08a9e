/** One entry of `x-kubernetes-validations`: a CEL rule that the API server enforces. */
export interface CelRule {
  readonly rule: string;
  readonly message?: string;
  /** CEL that yields the message; `message` stands in where it fails. */
  readonly messageExpression?: string;
  /** Field that the error names, relative to where the rule stands. */
  readonly fieldPath?: string;
  readonly reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired';
}
