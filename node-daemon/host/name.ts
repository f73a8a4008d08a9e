import { CONTROLLER_LEASE } from '../../crds/meta.ts';

/**
 * Longest host name. A Runner's finalizer is `vm.shoesvz.dev/<host>.<attempt>`, and Kubernetes allows 63
 * characters after the slash; ten digits are the longest attempt.
 */
export const HOST_NAME_MAX = 52;

const HOST_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Why a name cannot be a host's, as the end of a sentence that starts with the flag; undefined if it can. */
export function hostNameProblem(name: string): string | undefined {
  if (name.length > HOST_NAME_MAX) {
    return `must have at most ${HOST_NAME_MAX} characters, and "${name}" has ${name.length}`;
  }
  if (!HOST_NAME.test(name)) {
    return `must be a DNS name of lower-case letters, digits, "-" and ".", and "${name}" is not`;
  }
  if (name === CONTROLLER_LEASE) return `must not be "${name}": the controller's own Lease has that name`;
  return undefined;
}

/**
 * The machine's own host name as an object name: lower case, without the `.local` that macOS appends, every
 * other character a dash. Undefined where nothing usable is left.
 */
export function hostNameFrom(hostname: string): string | undefined {
  const name = hostname
    .toLowerCase()
    .replace(/\.local$/, '')
    .replace(/[^-a-z0-9.]+/g, '-')
    .split('.')
    .map((label) => label.replace(/^-+|-+$/g, ''))
    .filter((label) => label !== '')
    .join('.')
    .slice(0, HOST_NAME_MAX)
    .replace(/[-.]+$/, '');
  return name === '' || name === CONTROLLER_LEASE ? undefined : name;
}
