import { ApiError } from '../../../kube/errors.ts';
import type { ServedKind } from './kinds.ts';
import type { FieldProblem } from './schema.ts';

const resourceOf = ({ plural, group }: ServedKind): string => (group === '' ? plural : `${plural}.${group}`);

const details = (kind: ServedKind, name: string) => ({ name, group: kind.group, kind: kind.plural });

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);

export const notFound = (kind: ServedKind, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${resourceOf(kind)} "${name}" not found`, details(kind, name));

export const namespaceNotFound = (name: string): ApiError =>
  new ApiError(404, 'NotFound', `namespaces "${name}" not found`, { name, kind: 'namespaces' });

export const alreadyExists = (kind: ServedKind, name: string): ApiError =>
  new ApiError(409, 'AlreadyExists', `${resourceOf(kind)} "${name}" already exists`, details(kind, name));

export const conflict = (kind: ServedKind, name: string, why: string): ApiError =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${resourceOf(kind)} "${name}": ${why}`,
    details(kind, name),
  );

export function invalid(kind: ServedKind, name: string, problems: readonly FieldProblem[]): ApiError {
  const causes = problems.map(({ field, message }) => ({ field: field.replace(/^\./, ''), message }));
  const told = causes.map(({ field, message }) => `${field}: ${message}`).join(', ');
  return new ApiError(422, 'Invalid', `${kind.kind} "${name}" is invalid: ${told}`, {
    ...details(kind, name),
    causes,
  });
}

export const expired = (): ApiError =>
  new ApiError(410, 'Expired', 'too old resource version: the required history is compacted');

/** What a server under strain, or one that is going down, answers. */
export const serverError = (code: 429 | 500 | 503): ApiError => {
  const reason = { 429: 'TooManyRequests', 500: 'InternalError', 503: 'ServiceUnavailable' }[code];
  return new ApiError(code, reason, 'the server could not process the request now');
};
