import { finalizerName } from '../../crds/meta.ts';
import { type Binding, MOST_EARLIER_BINDINGS, type Runner } from '../../crds/runner.ts';
import { bytesQuantity } from '../../crds/scalars.ts';
import { ApiError, isConflict, isNotFound } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import type { Match } from './binder.ts';
import { claimsOf } from './ledger.ts';
import type { Amounts } from './place.ts';

/** What became of a binding that was sent. */
export type BindOutcome =
  | { readonly is: 'bound'; readonly runner: Stored<Runner> }
  /** Certainly not bound: the Runner has changed, or is gone (undefined). */
  | { readonly is: 'changed'; readonly runner: Stored<Runner> | undefined }
  /** Certainly not bound: the API server does not allow it. */
  | { readonly is: 'refused'; readonly message: string }
  /** Nobody knows. The slot stays taken until {@link inspect} tells. */
  | { readonly is: 'unknown'; readonly error: unknown };

/**
 * One PATCH, fenced by the resourceVersion that the match was decided on: the binding and the finalizer that
 * goes with it, or neither. Never throws.
 */
export async function bind(
  runners: Pick<Resources<Runner>, 'get' | 'patch'>,
  match: Match,
): Promise<BindOutcome> {
  const { metadata } = match.runner;
  try {
    const runner = await runners.patch(metadata, metadata.resourceVersion, bindingPatch(match));
    return isBoundAs(match, runner) ? { is: 'bound', runner } : { is: 'refused', message: PRUNED };
  } catch (error) {
    if (isConflict(error)) return await inspect(runners, match);
    if (isNotFound(error) && error.reason === 'NotFound') return { is: 'changed', runner: undefined };
    if (isRefusal(error)) return { is: 'refused', message: error.message };
    return { is: 'unknown', error };
  }
}

/** Finds out, by a quorum read, whether the Runner of a match was bound. Never throws. */
export async function inspect(
  runners: Pick<Resources<Runner>, 'get'>,
  match: Match,
): Promise<Exclude<BindOutcome, { is: 'refused' }>> {
  try {
    const runner = await runners.get(match.runner.metadata);
    if (runner?.metadata.uid !== match.runner.metadata.uid) return { is: 'changed', runner: undefined };
    return { is: isBoundAs(match, runner) ? 'bound' : 'changed', runner };
  } catch (error) {
    return { is: 'unknown', error };
  }
}

/** A merge patch replaces lists whole: the finalizers that are there come along, fenced like everything else. */
function bindingPatch({ runner, host, demand, attempt, templateDigest }: Match): object {
  const binding: Binding = {
    hostName: host.name,
    hostUID: host.uid,
    attempt,
    resources: resourcesOf(demand.amounts),
    templateDigest,
  };
  const earlier = earlierBindings(runner);
  const finalizers = new Set(runner.metadata.finalizers).add(finalizerName(host.name, attempt));
  return {
    metadata: { finalizers: [...finalizers] },
    spec: { binding: { ...binding, earlier: earlier.length > 0 ? earlier : null } },
  };
}

/** What the attempts hold whose finalizers stand: with the binding that goes, so would what is known of it. */
function earlierBindings(runner: Runner): NonNullable<Binding['earlier']> {
  const held = claimsOf(runner).filter(({ hostName, attempt }) =>
    runner.metadata.finalizers?.includes(finalizerName(hostName, attempt)),
  );
  return held
    .toSorted((a, b) => a.attempt - b.attempt)
    .slice(-MOST_EARLIER_BINDINGS)
    .map(({ amounts, ...claim }) => ({ ...claim, resources: resourcesOf(amounts) }));
}

const resourcesOf = ({ cpu, memoryBytes, diskBytes }: Amounts): Binding['resources'] => ({
  cpu,
  memory: bytesQuantity(memoryBytes),
  disk: bytesQuantity(diskBytes),
});

function isBoundAs({ host, attempt }: Match, { spec: { binding } }: Runner): boolean {
  return binding?.hostUID === host.uid && binding.attempt === attempt;
}

/** The API server drops fields that a CRD does not have, without a word. */
const PRUNED =
  'the API server does not store spec.binding: its CRD runners.shoesvz.dev is of another version than this controller';

/** Validation, CEL, admission or permissions: the same request would be refused again. */
const isRefusal = (error: unknown): error is ApiError =>
  error instanceof ApiError && [400, 403, 413, 422].includes(error.code);
