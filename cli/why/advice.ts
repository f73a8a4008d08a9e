import type { Verdict } from '../../controller/runner/explain.ts';
import type { Runner } from '../../crds/runner.ts';
import type { OutcomeReason } from '../../node-daemon/vm/metadata.ts';
import { presentStatus } from './times.ts';

type Unbound = Verdict['reason'];

/** What a person would do about a Runner that waits for a host. */
export function adviceForWaiting(reason: string, { spec }: Runner): string {
  const byReason: Record<Unbound, string> = {
    TemplateNotFound: `Create the Template ${spec.templateName}: the Runner is bound as soon as it is there.`,
    ClassNotFound:
      spec.className === undefined
        ? 'Create or annotate a default RunnerClass: the Runner is bound as soon as there is one.'
        : `Create the RunnerClass ${spec.className}: the Runner is bound as soon as it is there.`,
    NoHostFits:
      'It is bound by itself as soon as a host fits. "kubectl get machosts,linuxhosts" shows the hosts, "kubectl get runners -A" who is on them.',
    BackingOff: 'It is bound by itself when the host on which a start has just failed may be tried again.',
    BindingRefused:
      'The API server refuses what the controller writes: look at its permissions (deploy/rbac/) and at admission policies. It tries again by itself.',
  };
  return isKey(byReason, reason) ? byReason[reason] : byReason.NoHostFits;
}

const DONE = 'Nothing is left to be done.';
const ON_THE_HOST = 'run "shoes-vz doctor" on the host, and look at the log of its node daemon';

/** What a person would do next about a Runner that is over. */
export function adviceForOutcome(reason: string, runner: Runner): string {
  const byReason: Record<OutcomeReason, string> = {
    JobFinished: DONE,
    ScriptSucceeded: DONE,
    ScriptFailed: scriptFailed(runner),
    ScriptLost:
      'Something in the guest killed the script or restarted the guest; where it ran out of memory, name a larger className.',
    ScriptUnknown:
      'The node daemon was interrupted at the one moment after which nobody can tell whether the script ran; it is never run twice.',
    SetupTimeout:
      'Find out what the script waits for, or raise spec.timeouts.setup; where the script is the job itself, say completion: Script.',
    NoRunner:
      'The script has to start the Actions runner and leave it running; where the script is the job itself, say completion: Script.',
    CloneFailed: `On the host: is there room, is the template whole ("shoes-vz template list")? Else ${ON_THE_HOST}.`,
    CloneTimeout: `Raise spec.timeouts.clone; where cloning is slow on this host, ${ON_THE_HOST}: does its filesystem have reflink?`,
    StartFailed: `The VM's process did not start: ${ON_THE_HOST}.`,
    BootTimeout:
      'Raise spec.timeouts.boot where guests boot slowly on this host. Else watch serial.log in the bundle on the host while another one boots.',
    LoginFailed:
      "Does the Template name the right SSH user (spec.ssh.user) and key, and does the guest's image let them in?",
    VmExited: `The guest shut itself down, or the VM's process was killed, for want of memory say: ${ON_THE_HOST}.`,
    BundleLost: 'Something on the host removed the directory of the VM: look for what cleans up there.',
    DeadlineExceeded:
      'Raise spec.activeDeadlineSeconds where that much time is needed: it counts from the creation, the wait for a host included. Above stands what the time went to.',
    HostNeedsReboot:
      'It is bound elsewhere where another host fits. Reboot that host: macOS still counts VMs there that are gone.',
    OutOfCapacity: 'It is bound elsewhere, or here when there is room again.',
    HostDeleted: 'Its host was deleted with the Runner on it: drain a host before it is deleted.',
  };
  return isKey(byReason, reason) ? byReason[reason] : `On the host: ${ON_THE_HOST}.`;
}

/** What exit codes mean to shells: POSIX's 126 and 127, and 128 + n for signal n. */
const EXIT_CODES: ReadonlyMap<number, string> = new Map([
  [126, 'A command in it cannot be executed (exit code 126).'],
  [127, 'A command in it does not exist in the guest (exit code 127).'],
  [137, 'It was killed (exit code 137): where the guest ran out of memory, name a larger className.'],
  [143, 'It was terminated (exit code 143).'],
]);

function scriptFailed(runner: Runner): string {
  const { setup } = presentStatus(runner);
  const meaning = EXIT_CODES.get(setup?.exitCode ?? 0);
  const source = runner.spec.setupScript?.secretKeyRef === undefined ? '' : ' in its Secret';
  return [
    ...(meaning === undefined ? [] : [meaning]),
    `Mend the script${source}.`,
    ...(setup !== undefined && setup.outputTail === undefined
      ? ['With spec.setupScript.keepOutput: true the end of its output is kept.']
      : []),
  ].join(' ');
}

const isKey = <T extends object>(record: T, key: string): key is keyof T & string =>
  Object.hasOwn(record, key);
