import type { KubeObject } from '../../../kube/object.ts';
import type { ServedKind } from './kinds.ts';
import { badRequest } from './refusals.ts';

/** What of a collection a client asked for. */
export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** Whether an object is selected. Throws on a field that cannot be selected by. */
export function selects(kind: ServedKind, selection: Selection): (object: KubeObject) => boolean {
  const { namespace, labelSelector, fieldSelector } = selection;
  const known = ['metadata.name', 'metadata.namespace', ...kind.selectableFields];
  const fields = requirements(fieldSelector).map(({ key, ...rest }) => {
    if (!known.includes(key)) throw badRequest(`field label not supported: ${key}`);
    return { path: key.split('.'), ...rest };
  });
  const labels = requirements(labelSelector);
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    fields.every(({ path, value, negated }) => (textAt(object, path) === value) !== negated) &&
    labels.every(({ key, value, negated }) => (object.metadata.labels?.[key] === value) !== negated);
}

interface Requirement {
  readonly key: string;
  readonly value: string;
  readonly negated: boolean;
}

function requirements(selector = ''): Requirement[] {
  return selector
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [, key = '', sign, value = ''] = /^([^!=]+)(!=|==?)(.*)$/.exec(part) ?? [];
      if (sign === undefined) throw badRequest(`unable to parse requirement: ${part}`);
      return { key, value, negated: sign === '!=' };
    });
}

/** A field that is missing is empty. */
function textAt(object: unknown, path: readonly string[]): string {
  let value: unknown = object;
  for (const name of path) {
    value =
      typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  }
  return value === undefined ? '' : String(value);
}
