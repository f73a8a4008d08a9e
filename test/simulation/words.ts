import type { Runner } from '../../crds/runner.ts';
import type { Commit } from './api-server/server.ts';
import type { World } from './world.ts';

/** Writes down every change of the API server's objects in words. */
export function tellCommits(world: World): void {
  world.server.observers.add((commit) => {
    const { object, type } = commit;
    if (commit.kind.kind === 'Runner' && type === 'ADDED') {
      world.names.set(object.metadata.uid, object.metadata.name);
    }
    const [who = ''] = commit.by.split('#');
    world.trace.add(who, `${VERBS[type]} ${commit.kind.kind} ${object.metadata.name}${detail(commit)}`);
  });
}

const VERBS = { ADDED: 'creates', MODIFIED: 'changes', DELETED: 'ends' } as const;

function detail({ kind, object, old }: Commit): string {
  if (kind.kind === 'Runner') return runnerDetail(object as unknown as Runner, old as unknown as Runner);
  if (kind.kind === 'Event') {
    const { reason, note } = object as unknown as { reason: string; note: string };
    return `: ${reason}: ${note}`;
  }
  return ` @${object.metadata.resourceVersion}`;
}

function runnerDetail(now: Runner, old: Runner | undefined): string {
  const parts: string[] = [];
  const told = (name: string, of: (runner: Runner) => unknown): void => {
    const [before, after] = [old && JSON.stringify(of(old)), JSON.stringify(of(now))];
    if (before !== after) parts.push(`${name} ${after ?? 'none'}`);
  };
  told('phase', ({ status }) => status?.phase);
  told('binding', ({ spec: { binding } }) => binding && `${binding.hostName} attempt ${binding.attempt}`);
  told('finalizers', ({ metadata }) => metadata.finalizers);
  told('scriptAttempt', ({ status }) => status?.scriptAttempt);
  told('deletionTimestamp', ({ metadata }) => metadata.deletionTimestamp);
  told('Ready', (runner) => {
    const ready = runner.status?.conditions?.find(({ type }) => type === 'Ready');
    return ready && `${ready.status} ${ready.reason}`;
  });
  return parts.length === 0 ? '' : `: ${parts.join(', ')}`;
}
