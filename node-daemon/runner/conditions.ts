import type { Condition } from '../../crds/meta.ts';
import type { Runner, RunnerPhase } from '../../crds/runner.ts';
import { isTrue, removeCondition, setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import type { BundleFacts, Outcome, ReadyReason, RunnerFacts } from './facts.ts';
import { needsScript } from './judge.ts';
import { BRIEF_PHASE_MS, GUEST_SILENT_MS } from './timeouts.ts';

/** Status, reason and message of one condition. */
type Said = readonly [status: Condition['status'], reason: string, message: string];

/** What is said of each condition; those that are not named stay as they are. */
type Sayings = Readonly<Record<string, Said | undefined>>;

/** Which conditions a phase, or the outcome that is the Runner's end, comes with. */
export function conditionsOf(
  facts: RunnerFacts,
  runner: Stored<Runner>,
  phase: RunnerPhase,
  outcome?: Outcome,
): Condition[] {
  if (outcome === undefined) {
    return saying(facts, runner, {
      Bound: bound(facts, runner),
      SSHReady: sshReady(facts, phase),
      Ready: ready(facts, runner, phase),
    });
  }
  const { reason, message } = outcome;
  const conditions = saying(facts, runner, {
    Bound: bound(facts, runner),
    Stalled: outcome.phase === 'Error' ? ['True', reason, message] : undefined,
    Finished: ['True', reason, message],
    SSHReady: isTrue(runner.status?.conditions, 'SSHReady') ? undefined : ['False', reason, message],
  });
  return removeCondition(conditions, 'Ready');
}

/** Which conditions come with a start that has failed and is to be followed by another. */
export function conditionsOfFailedStart(
  facts: RunnerFacts,
  runner: Stored<Runner>,
  { reason, message }: Outcome,
  countedFailures: number,
): Condition[] {
  const failed = 'AttemptFailed';
  const attempt = runner.spec.binding?.attempt ?? 1;
  const count = `${countedFailures} of ${runner.spec.startAttempts} starts have failed`;
  return saying(facts, runner, {
    Bound: [
      'False',
      failed,
      `${count}; attempt ${attempt} on host ${facts.host.name}: ${reason}: ${message}`,
    ],
    SSHReady: ['False', failed, WAITS_ANEW],
    Ready: ['Unknown', failed, WAITS_ANEW],
  });
}

const WAITS_ANEW = 'a start has failed; the Runner waits to be bound anew';

function saying(facts: RunnerFacts, runner: Stored<Runner>, sayings: Sayings): Condition[] {
  const now = new Date(facts.now).toISOString();
  const observedGeneration = runner.metadata.generation;
  let conditions: Condition[] = runner.status?.conditions ?? [];
  for (const [type, said] of Object.entries(sayings)) {
    if (said === undefined) continue;
    const [status, reason, message] = said;
    const next = { type, status, reason, message: clipped(message), observedGeneration };
    conditions = setCondition(conditions, next, now);
  }
  return conditions;
}

function bound({ host }: RunnerFacts, { spec }: Runner): Said {
  return ['True', 'Bound', `bound to host ${host.name}, attempt ${spec.binding?.attempt ?? 1}`];
}

/** While a VM is destroyed it says what it said before. */
function sshReady({ bundle }: RunnerFacts, phase: RunnerPhase): Said | undefined {
  if (phase === 'TearingDown') return undefined;
  if (bundle?.sshReadyAt !== undefined) {
    return ['True', 'Authenticated', 'an authenticated SSH command exited with code 0'];
  }
  return ['False', phase, phase === 'Creating' ? CLONING : 'the VM boots; SSH does not answer yet'];
}

function ready(facts: RunnerFacts, runner: Runner, phase: RunnerPhase): Said {
  const { bundle, vmUnknownForMs = 0 } = facts;
  if (phase === 'TearingDown') return tearingDown(facts);
  if (bundle?.sshReadyAt === undefined)
    return ['False', phase, phase === 'Creating' ? CLONING : 'the VM boots'];
  if (vmUnknownForMs >= BRIEF_PHASE_MS) {
    return ['Unknown', 'VmUnknown', "the VM's process is there but does not answer"];
  }
  if (needsScript(facts, runner, bundle) && (facts.session.sshLostForMs ?? 0) >= GUEST_SILENT_MS) {
    return ['Unknown', 'GuestSilent', 'the guest does not answer SSH any more; it is tried again and again'];
  }
  return setUp(facts, runner, bundle);
}

function setUp({ session }: RunnerFacts, { spec }: Runner, bundle: BundleFacts): Said {
  const reason = bundle.readyReason ?? 'ScriptSucceeded';
  if (bundle.readyAt !== undefined) return ['True', reason, READY_MESSAGES[reason]];
  if (spec.setupScript === undefined) return ['True', 'NoScript', READY_MESSAGES.NoScript];
  const { script } = session;
  const waitingFor = script.state === 'starting' ? script.waitingFor : undefined;
  if (waitingFor !== undefined) return ['False', 'SetupWaiting', waitingFor];
  return ['False', 'SetupRunning', 'the setup script has not finished'];
}

function tearingDown({ bundle, session }: RunnerFacts): Said {
  const { purge } = session;
  if (purge.state === 'running' && purge.failing !== undefined) {
    return ['False', 'PurgeFailing', `the VM cannot be destroyed yet: ${purge.failing}`];
  }
  const why = bundle?.outcome ?? { reason: 'Deleted', message: 'the Runner is being deleted' };
  return ['False', why.reason, why.message];
}

const CLONING = 'the template is being cloned';

const READY_MESSAGES: Record<ReadyReason, string> = {
  NoScript: 'the VM answers SSH; there is no setup script',
  ScriptSucceeded: 'the setup script exited with code 0',
  RunnerRegistered: 'the Actions runner is registered and takes jobs',
};

/** Most characters of a message in status, as the CRD has it: a longer one would be refused for ever. */
const MESSAGE_LIMIT = 1024;

export function clipped(message: string): string {
  const characters = [...message];
  return characters.length <= MESSAGE_LIMIT ? message : `${characters.slice(0, MESSAGE_LIMIT - 1).join('')}…`;
}
