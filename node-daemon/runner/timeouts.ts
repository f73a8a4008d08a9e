import type { RunnerSpec } from '../../crds/runner.ts';
import { durationMs } from '../../crds/scalars.ts';
import type { TemplateSpec } from '../../crds/template.ts';

/** Limits of one start, in milliseconds. */
export interface Timeouts {
  readonly cloneMs: number;
  readonly bootMs: number;
  readonly setupMs: number;
}

const DEFAULTS = { clone: '2m', boot: '5m', setup: '30m' } as const;

/** A script that is the job may run as long as a GitHub Actions job may: six hours. */
const SCRIPT_JOB_SETUP = '6h';

/** The Runner's own limits, else the Template's, else the defaults that the CRD documents: part by part. */
export function timeoutsOf(
  { timeouts, completion }: Pick<RunnerSpec, 'timeouts' | 'completion'>,
  template: Pick<TemplateSpec, 'timeouts'> | undefined,
): Timeouts {
  const setupDefault = completion === 'Script' ? SCRIPT_JOB_SETUP : DEFAULTS.setup;
  return {
    cloneMs: durationMs(timeouts?.clone ?? template?.timeouts?.clone ?? DEFAULTS.clone),
    bootMs: durationMs(timeouts?.boot ?? template?.timeouts?.boot ?? DEFAULTS.boot),
    setupMs: durationMs(timeouts?.setup ?? template?.timeouts?.setup ?? setupDefault),
  };
}

/** A written phase that lasts less than this is not worth a write. */
export const BRIEF_PHASE_MS = 500;

/** A guest that does not answer SSH for less than this is not worth a write. */
export const GUEST_SILENT_MS = 30_000;

/** How long after its setup script's success a Runner with `completion: Job` waits for an Actions runner to show. */
export const NO_RUNNER_GRACE_MS = 120_000;
