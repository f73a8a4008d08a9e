/**
 * How an operator goes wrong, in the classes of Sieve (OSDI '22). stale: it acts on an old read. intermediate: it was
 * killed halfway and does not take that up. unobserved: it relies on an event that it missed. indirect: anything else.
 */
export type MutantClass = 'stale' | 'intermediate' | 'unobserved' | 'indirect';

/** What users of the peers complain of. */
export const PEERS_BUGS = [
  'a VM stays running in the API after its worker crashed',
  'slots of failed starts are never released',
  'an image pull blocks the heartbeat',
  'a runner stays Running after a drain',
  'a process killed for memory is taken for success',
  'finalizers block deletion for ever',
  'failed runners go on consuming capacity',
  'addresses of two booting guests are swapped',
  'queued creates are not counted',
  'a timeout orphans the VM',
] as const;

export type PeersBug = (typeof PEERS_BUGS)[number];

/** One place of the product's source, replaced. */
export interface Edit {
  /** Path from the root of the repository. */
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

/** A deliberate bug of the product, which the simulator must find. */
export interface Mutant {
  /** In kebab-case; unique. */
  readonly name: string;
  readonly class: MutantClass;
  /** What it leaves out or does wrong, in one sentence. */
  readonly bug: string;
  /** Line of the binding protocol that is left out, 1 to 13, where it is one. */
  readonly line?: number | undefined;
  readonly peers?: PeersBug | undefined;
  readonly edits: readonly Edit[];
}

/** The source with the edit made. Throws where the text to replace does not stand there exactly once. */
export function edited(source: string, { file, find, replace }: Edit): string {
  const parts = source.split(find);
  if (parts.length !== 2) {
    throw new Error(`${file}: what a mutant replaces stands there ${parts.length - 1} times: ${find}`);
  }
  return parts.join(replace);
}
