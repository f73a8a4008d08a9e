import { HOST_NAME_PATTERN } from './scalars.ts';
import { type CelRule, immutable, matches } from './validation.ts';

/** Fields of the spec that may change; a test holds both lists to the schema. */
export const MUTABLE_FIELDS = ['binding', 'activeDeadlineSeconds', 'ttlSecondsAfterFinished'] as const;

/** All others. */
export const IMMUTABLE_FIELDS = [
  'templateName',
  'className',
  'runnerName',
  'setupScript',
  'completion',
  'startAttempts',
  'hostSelector',
  'timeouts',
] as const;

export const SPEC_RULES: readonly CelRule[] = [
  ...IMMUTABLE_FIELDS.map((field) => immutable(field, 'Runner')),
  {
    rule: "self.completion != 'Script' || has(self.setupScript)",
    message: 'must be set, because with completion: Script the Runner is over when its setup script exits',
    fieldPath: '.setupScript',
    reason: 'FieldValueRequired',
  },
  {
    rule: 'oldSelf.hasValue() || !has(self.binding)',
    optionalOldSelf: true,
    message: 'must be absent when a Runner is created: the controller writes it',
    fieldPath: '.binding',
    reason: 'FieldValueForbidden',
  },
  {
    rule: '!has(oldSelf.binding) || has(self.binding)',
    message: 'cannot be removed: to give up the VM, delete the Runner',
    fieldPath: '.binding',
    reason: 'FieldValueForbidden',
  },
  {
    rule: '!has(self.binding) || has(oldSelf.binding) || self.binding.attempt == 1',
    message: 'must have attempt 1, because it is the first binding of this Runner',
    fieldPath: '.binding',
  },
];

/** Transition rules on `binding`, judged where it was set before and is set now. */
export const BINDING_RULES: readonly CelRule[] = [
  {
    rule: 'self.attempt == oldSelf.attempt || self.attempt == oldSelf.attempt + 1',
    message: 'must stay as it is or grow by one',
    fieldPath: '.attempt',
  },
  {
    rule: 'self.attempt != oldSelf.attempt || self == oldSelf',
    message: 'cannot change within an attempt: bind anew with attempt + 1',
    reason: 'FieldValueForbidden',
  },
];

export const STATUS_RULES: readonly CelRule[] = [
  {
    rule: '!has(self.attempts) || !has(self.scriptAttempt) || !self.attempts.exists(failed, failed.attempt == self.scriptAttempt)',
    message: 'cannot hold scriptAttempt: an attempt that was permitted to run the setup script is the last',
    fieldPath: '.attempts',
    reason: 'FieldValueForbidden',
  },
  {
    rule: '!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)',
    message: 'can neither shrink nor be removed',
    fieldPath: '.attempt',
    reason: 'FieldValueForbidden',
  },
  {
    rule: '!has(oldSelf.scriptAttempt) || (has(self.scriptAttempt) && self.scriptAttempt == oldSelf.scriptAttempt)',
    message: 'cannot be changed nor removed once set: the setup script is never run twice',
    fieldPath: '.scriptAttempt',
    reason: 'FieldValueForbidden',
  },
];

/** Rules over the whole object. */
export const RUNNER_RULES: readonly CelRule[] = [
  {
    rule: `has(self.spec.runnerName) || (self.metadata.name.size() <= 63 && ${matches('self.metadata.name', HOST_NAME_PATTERN)})`,
    message:
      'must be set, because metadata.name cannot be a host name: at most 63 lower-case letters, digits and "-", e.g. runner-1',
    fieldPath: '.spec.runnerName',
    reason: 'FieldValueRequired',
  },
  {
    rule: '!has(self.status) || !has(self.status.scriptAttempt) || (has(self.spec.binding) && self.spec.binding.attempt == self.status.scriptAttempt)',
    message:
      'must equal spec.binding.attempt: only the bound attempt may run the setup script, and after that no other is bound',
    fieldPath: '.status.scriptAttempt',
  },
  {
    rule: '!has(self.status) || !has(self.status.attempts) || self.status.attempts.all(failed, has(self.spec.binding) && failed.attempt <= self.spec.binding.attempt)',
    message: 'cannot tell of an attempt that was never bound',
    fieldPath: '.status.attempts',
  },
];
