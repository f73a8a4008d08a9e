import { nextTryAt } from '../../controller/runner/retry.ts';
import { hasFailed, hasPassedGate, isOver } from '../../crds/attempts.ts';
import { holdsOf } from '../../crds/meta.ts';
import type { Runner, RunnerPhase } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { NO_RUNNER_GRACE_MS, timeoutsOf } from '../../node-daemon/runner/timeouts.ts';
import { adviceForOutcome, adviceForWaiting } from './advice.ts';
import { inWords } from './duration.ts';
import { presentStatus, reasonOfEnd } from './times.ts';

/** How a Runner stands now. */
export interface Situation {
  /** What it waits for, or how it ended: a sentence. */
  readonly says: string;
  /** The reason of the condition that says so. */
  readonly reason?: string | undefined;
  /** What a person would do next; absent where there is nothing to do but wait. */
  readonly advice?: string | undefined;
}

/** A Runner that the controller has not looked at for so long is not being looked at. */
const UNSEEN_MS = 10_000;

/** Pure: what a Runner waits for now, or how it ended, in plain words. */
export function situationOf(runner: Stored<Runner>, now: number, template?: Template): Situation {
  const situation = presentSituation(runner, now, template);
  const until = deadlineOf(runner, now) ?? deletionOf(runner, now);
  return until === undefined ? situation : { ...situation, says: `${situation.says} ${until}` };
}

/** What ends it whatever it does; undefined where nothing does, or it is ending already. */
function deadlineOf(runner: Stored<Runner>, now: number): string | undefined {
  const { activeDeadlineSeconds: limit } = runner.spec;
  const isEnding = runner.status?.phase === 'TearingDown' || isOver(runner);
  // Nobody ends what nobody hears of.
  if (getCondition(runner.status?.conditions, 'Ready')?.reason === 'HostLost') return undefined;
  if (limit === undefined || isEnding || runner.metadata.deletionTimestamp !== undefined) return undefined;
  const leftMs = Math.max(0, Date.parse(runner.metadata.creationTimestamp) + limit * 1000 - now);
  return `Whatever it does, it ends in ${inWords(leftMs)} (spec.activeDeadlineSeconds).`;
}

/** When an object that is over goes by itself. */
function deletionOf({ metadata, spec, status }: Stored<Runner>, now: number): string | undefined {
  const { ttlSecondsAfterFinished: ttl } = spec;
  const finishedAt = Date.parse(status?.finishedAt ?? '');
  if (ttl === undefined || Number.isNaN(finishedAt) || metadata.deletionTimestamp !== undefined) {
    return undefined;
  }
  const leftMs = Math.max(0, finishedAt + ttl * 1000 - now);
  return `The object is deleted in ${inWords(leftMs)} (spec.ttlSecondsAfterFinished).`;
}

function presentSituation(runner: Stored<Runner>, now: number, template?: Template): Situation {
  const { binding } = runner.spec;
  const { conditions, phase = 'Pending' } = presentStatus(runner);
  const ready = getCondition(conditions, 'Ready');
  if (runner.metadata.deletionTimestamp !== undefined) return deleted(runner);
  if (isOver(runner)) return ended(runner);
  if (binding === undefined || hasFailed(runner)) return unbound(runner, now);
  if (ready?.reason === 'HostLost') return lost(runner, binding.hostName, ready.message);
  if (!isTrue(conditions, 'Bound')) return unreported(binding.hostName);
  if (ready?.status === 'Unknown') return { says: sentence(ready.message), reason: ready.reason };
  return ready?.status === 'True' ? inUse(runner) : underWay(runner, phase, template);
}

function unbound(runner: Stored<Runner>, now: number): Situation {
  const bound = getCondition(runner.status?.conditions, 'Bound');
  if (bound !== undefined) {
    const { reason, message } = bound;
    if (reason === 'AttemptFailed') return waitsAnew(runner, message, now);
    return {
      says: `It waits for a host: ${sentence(message)}`,
      reason,
      advice: adviceForWaiting(reason, runner),
    };
  }
  const ageMs = now - Date.parse(runner.metadata.creationTimestamp);
  if (ageMs < UNSEEN_MS) return { says: 'It has just been created.' };
  return {
    says: 'It waits for the controller, which has not looked at it yet.',
    advice: 'Does the controller run, and can it reach the API server? Its log says what it lacks.',
  };
}

/** The controller says nothing while only a start that has failed keeps the Runner waiting. */
function waitsAnew(runner: Runner, message: string, now: number): Situation {
  const last = runner.status?.attempts?.at(-1);
  const inMs = (nextTryAt(runner) ?? now) - now;
  const again = inMs > 0 ? `, on ${last?.hostName} in ${inWords(inMs)} at the earliest` : '';
  return {
    says: `It is started anew, at once where another host fits${again}: ${sentence(message)}`,
    reason: 'AttemptFailed',
    advice: last && adviceForOutcome(last.reason, runner),
  };
}

const unreported = (hostName: string): Situation => ({
  says: `It is bound to ${hostName}, and waits for the node daemon there to take it up.`,
  advice: `If that lasts: is ${hostName} Ready ("kubectl get machosts,linuxhosts")? The log of its node daemon says more.`,
});

/** What becomes of it the controller has said; a person can only bring the host back, or say that it never will be. */
const lost = (runner: Runner, hostName: string, message: string): Situation => ({
  says: sentence(message),
  reason: 'HostLost',
  advice: hasPassedGate(runner)
    ? `It goes on when the node daemon of ${hostName} is back. To have the work done elsewhere now, create another Runner.`
    : `Nothing is to be done where another host has room or gets it; else start the node daemon of ${hostName} again.`,
});

/** Something is being made or run that has a limit in time. */
function underWay(runner: Runner, phase: RunnerPhase, template: Template | undefined): Situation {
  const { cloneMs, bootMs, setupMs } = timeoutsOf(runner.spec, template?.spec);
  const ready = getCondition(presentStatus(runner).conditions, 'Ready');
  const limit = (ms: number, field: 'clone' | 'boot' | 'setup'): string => {
    const isTemplates =
      runner.spec.timeouts?.[field] === undefined && template?.spec.timeouts?.[field] !== undefined;
    const whose = isTemplates ? ` of Template ${template.metadata.name}` : '';
    return `it is given up after ${inWords(ms)} (spec.timeouts.${field}${whose})`;
  };
  switch (phase) {
    case 'Pending':
    case 'Creating':
      return { says: `Its template is being cloned; ${limit(cloneMs, 'clone')}.` };
    case 'Booting':
      return { says: `Its VM boots and does not answer SSH yet; ${limit(bootMs, 'boot')}.` };
    case 'SSHReady':
    case 'Running':
      return ready?.reason === 'SetupWaiting'
        ? {
            says: `It waits to run its setup script: ${ready.message}; ${limit(setupMs, 'setup')}.`,
            reason: ready.reason,
            advice:
              'Create the Secret with that key, and let the node daemon read it (deploy/rbac/): the script starts by itself.',
          }
        : { says: `Its setup script runs; ${limit(setupMs, 'setup')}.` };
    case 'TearingDown':
    case 'Finished':
    case 'Error': {
      const why = reasonOfEnd(runner);
      const says = `Its VM is being destroyed${why === undefined ? '.' : `: ${sentence(why.message)}`}`;
      return { says, reason: why?.reason };
    }
  }
}

function inUse(runner: Runner): Situation {
  const { guest, setup } = presentStatus(runner);
  switch (runner.spec.completion) {
    case 'Never':
      return { says: 'It is ready, and stays until it is deleted.' };
    case 'Script':
      return { says: 'It is ready, and is over when its setup script exits.' };
    case 'Job':
      break;
  }
  switch (guest?.state) {
    case 'Idle':
      return { says: 'It is ready, and its Actions runner waits for a job.' };
    case 'Running':
      return { says: 'Its Actions runner has a job; the Runner is over when the job is.' };
    case 'Finished':
      return { says: 'Its Actions runner has finished.' };
    case 'Starting':
    case 'NoRunner':
    case undefined:
      return {
        says:
          setup?.exitCode === 0
            ? `It is ready, and waits for an Actions runner to show in the guest; it is given up ${inWords(NO_RUNNER_GRACE_MS)} after its setup script exited.`
            : 'It is ready, and waits for its Actions runner.',
      };
  }
}

const ANEW = 'A Runner that has failed is never started again: create another one.';

function ended(runner: Runner): Situation {
  const why = reasonOfEnd(runner);
  const failed = runner.status?.phase === 'Error';
  if (why === undefined) return { says: failed ? 'It failed.' : 'It is over.' };
  const { reason, message } = why;
  const advice = adviceForOutcome(reason, runner);
  if (!failed) return { says: `It is over: ${sentence(message)}`, reason, advice };
  return { says: `It failed: ${sentence(message)}`, reason, advice: `${advice} ${ANEW}` };
}

/** An object that is being deleted goes when nobody holds it any more. */
function deleted(runner: Runner): Situation {
  const finalizers = runner.metadata.finalizers ?? [];
  const holds = holdsOf(runner.metadata);
  const hosts = [...new Set(holds.map(({ hostName }) => hostName))];
  const others = finalizers.filter((one) => !holds.some(({ finalizer }) => finalizer === one));
  if (hosts.length > 0) {
    const lostNow = getCondition(runner.status?.conditions, 'Ready')?.reason === 'HostLost';
    const names = hosts.join(' and ');
    const says = `It is being deleted, and goes when ${names} has destroyed its VM`;
    if (!lostNow) return { says: `${says}.` };
    return {
      says: `${says}; the node daemon there does not answer.`,
      reason: 'HostLost',
      advice: `Start the node daemon of ${names} again: it destroys the VM and lets go of the Runner. If the machine is dead for good, say so by deleting its host object ("kubectl get machosts,linuxhosts").`,
    };
  }
  if (others.length === 0) return { says: 'It is being deleted.' };
  return {
    says: `It is being deleted, and held by finalizers that are not shoes-vz's: ${others.join(', ')}.`,
    advice: 'Whoever set them has to remove them.',
  };
}

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);
