import { hasPassedGate } from '../../crds/attempts.ts';
import type { Runner } from '../../crds/runner.ts';
import type { OutcomeReason } from '../vm/metadata.ts';
import { type BundleFacts, isScriptOver, type Outcome, type RunnerFacts } from './facts.ts';
import { NO_RUNNER_GRACE_MS } from './timeouts.ts';

/** A verdict: the outcome, or after how many milliseconds time alone may bring one. */
export interface Verdict {
  readonly outcome?: Outcome | undefined;
  readonly dueInMs?: number | undefined;
}

const RUNS_ON: Verdict = {};

/**
 * Whether a Runner bound here is over. Asked only while no outcome is recorded. Reads nothing that is
 * uncertain: an `unknown` VM or an unobserved script ends nothing, except by the Runner's own time limits. A binding
 * without its finalizer is one that the controller let go of, line 12 of the binding protocol: before the gate it counts
 * for nothing any more, though this daemon may not have heard of the host object's end.
 */
export function judge(facts: RunnerFacts, runner: Runner): Verdict {
  const over: Over = (phase, reason, message) => ({
    outcome: { phase, reason, message, at: facts.now, setup: setupOf(facts, runner) },
  });
  const verdict = judgeLife(facts, runner, over);
  return verdict.outcome === undefined ? judgeDeadline(facts, runner, over, verdict.dueInMs) : verdict;
}

type Over = (phase: Outcome['phase'], reason: OutcomeReason, message: string) => Verdict;

/** What came to an end by itself is told as that, though the deadline may have passed before it was seen. */
function judgeDeadline(
  { ages }: RunnerFacts,
  { spec }: Runner,
  over: Over,
  otherDueInMs: number | undefined,
): Verdict {
  const { activeDeadlineSeconds: limit } = spec;
  if (limit === undefined || ages.runnerCreated === undefined) return { dueInMs: otherDueInMs };
  const dueInMs = limit * 1000 - ages.runnerCreated;
  if (dueInMs > 0) return { dueInMs: Math.min(dueInMs, otherDueInMs ?? dueInMs) };
  return over(
    'Error',
    'DeadlineExceeded',
    `the Runner was not over ${limit} s after its creation (activeDeadlineSeconds)`,
  );
}

function judgeLife(facts: RunnerFacts, runner: Runner, over: Over): Verdict {
  if (facts.host.state !== 'live') {
    return over('Error', 'HostDeleted', `the host ${facts.host.name} was deleted`);
  }
  if (!facts.heldAttempts.includes(facts.attempt) && !hasPassedGate(runner)) {
    return over('Error', 'HostDeleted', `the host ${facts.host.name} was declared dead, and its VM with it`);
  }
  if (facts.session.launch.state === 'failed') {
    return over('Error', facts.session.launch.reason, facts.session.launch.message);
  }
  const bundle = facts.bundle;
  if (bundle === undefined) {
    return wasStarted(runner, runner.spec.binding?.attempt)
      ? over('Error', 'BundleLost', 'the bundle directory is gone; it was not removed by the node daemon')
      : judgeCapacity(facts, over);
  }
  if (bundle.stage === 'Preparing' || bundle.stage === 'Prepared') return judgeUnrecorded(facts, over);
  if (bundle.stage !== 'Started') return RUNS_ON;
  if (facts.vm === 'absent') {
    return over('Error', 'VmExited', "the VM's process has ended by itself");
  }
  if (facts.vm === 'stopped') return over('Error', 'VmExited', 'the guest has stopped');
  if (bundle.sshReadyAt === undefined) return judgeBoot(facts, over);
  return judgeScript(facts, runner, bundle, over);
}

/** Line 3 of the binding protocol. Costs no attempt: it is not the Runner that has failed. */
const judgeCapacity = ({ shortage, vm }: RunnerFacts, over: Over): Verdict =>
  shortage === undefined || vm !== 'absent' ? RUNS_ON : over('Error', 'OutOfCapacity', shortage);

function wasStarted(runner: Runner, attempt: number | undefined): boolean {
  return runner.status?.attempt === attempt && runner.status?.startedAt !== undefined;
}

/** A VM that was started, which nobody recorded, and that does not answer: neither adopted nor made anew. */
function judgeUnrecorded(facts: RunnerFacts, over: Over): Verdict {
  if (facts.vmUnknownForMs === undefined) return RUNS_ON;
  const { cloneMs, bootMs } = facts.timeouts;
  const dueInMs = cloneMs + bootMs - (facts.ages.created ?? 0);
  if (dueInMs > 0) return { dueInMs };
  return over('Error', 'StartFailed', "the VM's process is there but does not answer");
}

function judgeBoot(facts: RunnerFacts, over: Over): Verdict {
  const limit = facts.timeouts.bootMs;
  const dueInMs = limit - (facts.ages.started ?? 0);
  if (dueInMs <= 0) {
    const { ssh } = facts.session;
    const failure = ssh.state === 'idle' || ssh.state === 'connecting' ? ssh.failure : undefined;
    const why = failure === undefined ? '' : `: ${failure}`;
    return over(
      'Error',
      'BootTimeout',
      `SSH did not answer within ${limit / 1000} s of the VM's start (timeouts.boot)${why}`,
    );
  }
  if (facts.session.ssh.state === 'refused') return over('Error', 'LoginFailed', facts.session.ssh.message);
  return { dueInMs };
}

function judgeScript(facts: RunnerFacts, runner: Runner, bundle: BundleFacts, over: Over): Verdict {
  const { session } = facts;
  const { script } = session;
  const gatePassed = runner.status?.scriptAttempt === bundle.attempt;
  if (script.state === 'exited' && script.exitCode !== 0) {
    return over('Error', 'ScriptFailed', `the setup script exited with code ${script.exitCode}`);
  }
  if (script.state === 'vanished') {
    return over('Error', 'ScriptLost', "the setup script's process is gone and left no exit code");
  }
  if (script.state === 'incomplete' && !mayStartScript(facts, bundle)) {
    return over(
      'Error',
      'ScriptUnknown',
      'the guest knows no more of the setup script than that it was being sent; it is never run twice',
    );
  }
  if (script.state === 'impossible') return over('Error', 'ScriptFailed', script.message);
  if (script.state === 'absent' && gatePassed && !mayStartScript(facts, bundle)) {
    return over(
      'Error',
      'ScriptUnknown',
      'the script was permitted to run, and the guest has no trace of it; it is never run twice',
    );
  }
  if (session.ssh.state === 'refused' && needsScript(facts, runner, bundle)) {
    return over('Error', 'LoginFailed', session.ssh.message);
  }
  const completed = judgeCompletion(facts, runner, over);
  if (completed.outcome !== undefined) return completed;
  return judgeSetupTime(facts, runner, bundle, over, completed.dueInMs);
}

/**
 * Line 7: a script that left no trace is started by none but the process that passed the gate, and only until it was seen
 * to have begun. A guest that resets may forget that it has.
 */
export const mayStartScript = ({ session }: RunnerFacts, bundle: BundleFacts): boolean =>
  session.gatePassedHere && bundle.scriptStartedAt === undefined;

/** SSH is wanted as long as the script has something left to tell. */
export const awaitsScript = ({ session }: RunnerFacts, runner: Runner): boolean =>
  runner.spec.setupScript !== undefined && !isScriptOver(session.script);

/** Whether nothing but the script can make the Runner Ready, or end it. */
export const needsScript = (facts: RunnerFacts, runner: Runner, bundle: BundleFacts): boolean =>
  awaitsScript(facts, runner) && (bundle.readyAt === undefined || runner.spec.completion === 'Script');

function judgeCompletion(facts: RunnerFacts, runner: Runner, over: Over): Verdict {
  const { script, guest } = facts.session;
  if (runner.spec.completion === 'Never') return RUNS_ON;
  if (runner.spec.completion === 'Script') {
    return script.state === 'exited'
      ? over('Finished', 'ScriptSucceeded', 'the setup script exited with code 0')
      : RUNS_ON;
  }
  if (guest?.state === 'Finished')
    return over('Finished', 'JobFinished', 'the Actions runner has finished its job');
  if (script.state !== 'exited') return RUNS_ON;
  if (!facts.guestAgent) {
    return over(
      'Finished',
      'ScriptSucceeded',
      'the setup script exited with code 0 (no guest agent to tell of a job)',
    );
  }
  // Until this daemon has heard of the guest, what an earlier one told of it counts: a job may run.
  const state = guest?.state ?? runner.status?.guest?.state ?? 'NoRunner';
  if (state !== 'NoRunner') return RUNS_ON;
  const quietForMs = guest === undefined ? script.forMs : (facts.ages.ready ?? script.forMs);
  const dueInMs = NO_RUNNER_GRACE_MS - quietForMs;
  if (dueInMs > 0) return { dueInMs };
  return over(
    'Error',
    'NoRunner',
    `the setup script exited with code 0, but no Actions runner showed within ${NO_RUNNER_GRACE_MS / 1000} s (completion: Job)`,
  );
}

function judgeSetupTime(
  facts: RunnerFacts,
  runner: Runner,
  bundle: BundleFacts,
  over: Over,
  otherDueInMs: number | undefined,
): Verdict {
  const scriptOver = facts.session.script.state === 'exited';
  if (runner.spec.setupScript === undefined || bundle.readyAt !== undefined || scriptOver) {
    return { dueInMs: otherDueInMs };
  }
  const limit = facts.timeouts.setupMs;
  const forMs = setupForMs(facts, runner, bundle);
  if (forMs === undefined) return { dueInMs: otherDueInMs };
  const dueInMs = limit - forMs;
  if (dueInMs <= 0) {
    const { script, ssh } = facts.session;
    const silent = ssh.state === 'idle' || ssh.state === 'connecting' ? ssh.failure : undefined;
    const waiting = (script.state === 'starting' ? script.waitingFor : undefined) ?? silent;
    const why = waiting === undefined ? '' : `: ${waiting}`;
    return over(
      'Error',
      'SetupTimeout',
      `the setup script was not done within ${limit / 1000} s (timeouts.setup)${why}`,
    );
  }
  return { dueInMs: Math.min(dueInMs, otherDueInMs ?? dueInMs) };
}

/** undefined before the gate: what is waited for then is the API server, and no fault of the script's. */
function setupForMs({ ages, session }: RunnerFacts, runner: Runner, bundle: BundleFacts): number | undefined {
  if (ages.scriptStarted !== undefined) return ages.scriptStarted;
  const gatePassed = runner.status?.scriptAttempt === bundle.attempt;
  return gatePassed ? (session.gatePassedForMs ?? ages.sshReady ?? 0) : undefined;
}

/** What status keeps of the script: output only where the Runner asks for it or the script is no secret. */
export function setupOf(facts: RunnerFacts, runner: Runner): Outcome['setup'] {
  const { script } = facts.session;
  const source = runner.spec.setupScript;
  if (script.state !== 'exited' || source === undefined) return undefined;
  const keep = source.keepOutput ?? source.inline !== undefined;
  return { exitCode: script.exitCode, ...(keep ? { outputTail: script.outputTail } : {}) };
}
