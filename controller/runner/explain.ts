import type { ResolvedNames, Unresolved } from './demand.ts';
import { type Demand, MISFITS, type Misfit, type MisfitCounts } from './place.ts';

/** Why a Runner is not bound. */
export interface Verdict {
  /** Reason of the condition Bound=False. */
  readonly reason: Unresolved['reason'] | 'NoHostFits' | 'BindingRefused' | 'BackingOff';
  readonly message: string;
}

/** Bound of a condition's message. */
const MAX_MESSAGE = 1024;

/**
 * Puts into words why no host takes a Runner: "4 hosts: 2 full, 1 cordoned, 1 without template macos-26". The
 * commonest reason comes first; of equals, the one that stood last in the way.
 */
export function explain(counts: MisfitCounts, demand: Demand, names: ResolvedNames): Verdict {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  if (total === 0) return { reason: 'NoHostFits', message: 'there are no hosts' };
  const parts = MISFITS.map((misfit) => [misfit, counts.get(misfit) ?? 0] as const)
    .filter(([, count]) => count > 0)
    .reverse()
    .sort(([, a], [, b]) => b - a)
    .map(([misfit, count]) => `${count} ${phrase(misfit, demand, names)}`);
  const message = `${total} ${total === 1 ? 'host' : 'hosts'}: ${parts.join(', ')}`;
  return { reason: counts.has('JustFailed') ? 'BackingOff' : 'NoHostFits', message: clip(message) };
}

/** Text that a condition's message can hold. */
export const clip = (text: string): string =>
  text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;

function phrase(misfit: Misfit, demand: Demand, names: ResolvedNames): string {
  const { bundle, guest } = demand;
  switch (misfit) {
    case 'Deleting':
      return 'being deleted';
    case 'SelectorMismatch':
      return 'without the labels of hostSelector';
    case 'UnfitMachine':
      return `unable to run ${guest.os} guests for ${guest.arch}`;
    case 'WithoutTemplate':
      return bundle.name === names.templateName
        ? `without template ${names.templateName}`
        : `without bundle ${bundle.name} of template ${names.templateName}`;
    case 'OtherBundle':
      return `with a bundle ${bundle.name} that is not the one of template ${names.templateName}`;
    case 'Cordoned':
      return 'cordoned';
    case 'NeedsReboot':
      return 'in need of a reboot';
    case 'NotReady':
      return 'not ready';
    case 'TooSmall':
      return `too small for class ${names.className}`;
    case 'Full':
      return 'full';
    case 'ShortOfCpu':
      return 'short of CPU';
    case 'ShortOfMemory':
      return 'short of memory';
    case 'ShortOfDisk':
      return 'short of disk';
    case 'JustFailed':
      return 'on which a start has just failed';
  }
}
