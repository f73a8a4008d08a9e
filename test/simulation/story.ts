import type { Deed, Plan } from './plan.ts';
import { replay, shrink } from './shrink.ts';
import type { Result } from './simulate.ts';
import { kindOf } from './tally.ts';
import type { TraceLine } from './trace.ts';

/** Lines before the end that a short story keeps. */
const LAST_LINES = 60;

/** What went wrong with a seed, in as few steps as it takes. */
export async function minimalStory(plan: Plan, violation: string): Promise<string> {
  const small = await shrink(plan, violation);
  const result = await replay(small);
  const lines = withoutRefrains(result.lines.filter(isTelling));
  const left = Math.max(0, lines.length - LAST_LINES);
  return [
    `seed ${plan.seed} breaks ${kindOf(violation)}. ${small.steps.length} of ${plan.steps.length} steps do it, on ${hostsOf(small)}:`,
    ...small.steps.map(({ at, deed }) => `  ${time(at)}  ${inWords(deed)}`),
    'what happened then:',
    ...(left > 0 ? [`  … (${left} lines before)`] : []),
    ...lines.slice(left).map(asText),
    `again: npm run test:simulation -- --seed ${plan.seed} --story`,
  ].join('\n');
}

/** All that happened in a run. */
export function fullStory(plan: Plan, { lines, violation, hash, simulatedMs }: Result): string {
  return [
    `seed ${plan.seed}, on ${hostsOf(plan)}:`,
    ...plan.steps.map(({ at, deed }) => `  ${time(at)}  ${inWords(deed)}`),
    'what happened:',
    ...withoutRefrains(lines.filter(isTelling)).map(asText),
    `${violation ?? 'all invariants held'} (after ${time(simulatedMs)}, trace ${hash})`,
  ].join('\n');
}

const hostsOf = ({ hosts }: Plan): string =>
  hosts.map(({ name, maxRunners }) => `${name} (at most ${maxRunners})`).join(', ');

/** Renewals of Leases happen all the time, and the plan was told already. */
const isTelling = ({ who, what }: TraceLine): boolean => who !== 'PLAN' && !what.startsWith('changes Lease');

/** Of lines that say the same again and again, numbers aside, the first few. */
function withoutRefrains(lines: readonly TraceLine[]): TraceLine[] {
  const times = new Map<string, number>();
  return lines.filter(({ who, what }) => {
    const refrain = `${who} ${what.replaceAll(/[0-9]+/g, '#')}`;
    const before = times.get(refrain) ?? 0;
    times.set(refrain, before + 1);
    return !what.startsWith('logs:') || before < 3;
  });
}

const asText = ({ at, who, what }: TraceLine): string =>
  `  ${time(at)}  ${who} ${what.length > 300 ? `${what.slice(0, 300)}…` : what}`;

const time = (ms: number): string => `${(ms / 1000).toFixed(3).padStart(9)} s`;
const span = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** A deed as one would tell it. */
export function inWords(deed: Deed): string {
  switch (deed.do) {
    case 'create': {
      const { spec, script } = deed.wish;
      const scripted =
        script === undefined ? 'no script' : `a script of ${span(script.ms)} that exits ${script.exitCode}`;
      return `the user creates Runner ${deed.name} (${spec.templateName}, completion ${spec.completion}, ${scripted})`;
    }
    case 'delete':
      return `the user deletes Runner ${deed.name}`;
    case 'kill':
      return `${deed.who} is killed and starts again after ${span(deed.downMs)}`;
    case 'killAt':
      return `${deed.who} dies at the boundary of an effect, the ${deed.boundaries + 1}th from here, and starts again after ${span(deed.downMs)}`;
    case 'restart':
      return `${deed.who} is stopped in order and starts again`;
    case 'cut': {
      const then = deed.forgets ? '; what happened meanwhile is forgotten' : '';
      return deed.way === 'none'
        ? `${deed.who} is cut off from the API server for ${span(deed.forMs)}${then}`
        : `${deed.who} gets no answers from the API server for ${span(deed.forMs)}, which gets its requests${then}`;
    }
    case 'lag':
      return `watches of ${deed.who} lag by ${span(deed.byMs)} for ${span(deed.forMs)}`;
    case 'loseAnswers':
      return `the answers to the next ${deed.times} writes of ${deed.who} are lost`;
    case 'refuse':
      return `the next ${deed.times} writes of ${deed.who} are answered ${deed.code}`;
    case 'apiDown':
      return `the API server is down for ${span(deed.forMs)}${deed.forgets ? ' and forgets its history' : ''}`;
    case 'compact':
      return 'the history of the API server is compacted';
    case 'dropWatches':
      return `all watches break${deed.forgets ? ', and the history is compacted' : ''}`;
    case 'jumpClock':
      return `the wall clock of ${deed.who} jumps by ${span(deed.byMs)}`;
    default:
      return hostDeedInWords(deed);
  }
}

type HostDeed = Exclude<
  Deed,
  { do: 'create' | 'delete' | 'kill' | 'killAt' | 'restart' | 'cut' | 'lag' | 'loseAnswers' | 'refuse' }
>;

function hostDeedInWords(deed: HostDeed): string {
  switch (deed.do) {
    case 'reboot':
      return `${deed.host} loses power for ${span(deed.downMs)}`;
    case 'fillDisk':
      return `the disk of ${deed.host} is full for ${span(deed.forMs)}`;
    case 'breakDisk':
      return `the disk of ${deed.host} cannot be read for ${span(deed.forMs)}`;
    case 'blind':
      return `the process table of ${deed.host} cannot be read for ${span(deed.forMs)}`;
    case 'endVm':
      return `a VM of ${deed.host} ends by itself`;
    case 'hangVm':
      return `a VM of ${deed.host} stops answering`;
    case 'resetGuest':
      return `a guest of ${deed.host} resets, and of its script's beginning nothing was written to its disk yet`;
    case 'stickVm':
      return `a VM of ${deed.host} cannot be killed for ${span(deed.forMs)}`;
    case 'failClones':
      return `the next ${deed.times} clones on ${deed.host} fail`;
    case 'leakSlots':
      return `the hypervisor of ${deed.host} counts VMs that are gone, and starts none before a reboot`;
    case 'slowClones':
      return `the next ${deed.times} clones on ${deed.host} take ${span(deed.byMs)}`;
    case 'hangBoots':
      return `the next ${deed.times} guests on ${deed.host} never boot`;
    case 'removeBundle':
      return `a person removes a bundle directory of ${deed.host}`;
    case 'deleteLease':
      return `a person deletes the Lease of ${deed.host}`;
    case 'cordon':
      return `${deed.host} is cordoned for ${span(deed.forMs)}`;
    case 'withdrawTemplate':
      return `${deed.host} has no template for ${span(deed.forMs)}`;
    case 'loseHost':
      return `${deed.host} burns down, with all that was on it`;
    case 'deleteHost':
      return `the user deletes the host object ${deed.host}`;
    case 'deleteTemplate':
      return `the user deletes the Template linux and creates it again after ${span(deed.forMs)}`;
    default:
      return deed.do;
  }
}
