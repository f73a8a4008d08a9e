import type { Host } from '../../crds/host.ts';
import type { Runner } from '../../crds/runner.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import { parseBundleName } from '../../node-daemon/vm/bundle.ts';
import { fits, hasFailed, holdsOf, hostObject, isOver, roomOf, runnersOf, sum, takenOf } from './claims.ts';
import type { SimHost } from './host/host.ts';
import type { SimVm } from './host/vm.ts';
import { EPOCH } from './life.ts';
import type { World } from './world.ts';

/** What is not as it should be once nothing changes any more; none where the system has come to rest. */
export function unrestOf(world: World): string[] {
  const runners = runnersOf(world.server);
  return [
    ...runners.flatMap((runner) => runnerUnrest(world, runner)),
    ...world.hosts.filter(({ isLost }) => !isLost).flatMap((host) => hostUnrest(world, host, runners)),
  ];
}

function runnerUnrest(world: World, runner: Runner): string[] {
  const { metadata, status, spec } = runner;
  const tell = (what: string): string[] => [`Runner ${metadata.name} ${what}`];
  if (metadata.deletionTimestamp !== undefined) return tell('is still being deleted');
  const holds = holdsOf(runner);
  if (isOver(runner)) {
    if (isPastTtl(world, runner)) return tell('is over, and past its ttlSecondsAfterFinished');
    return holds.length === 0 ? [] : tell(`is over and is still held by ${metadata.finalizers?.join(', ')}`);
  }
  if (isPastDeadline(world, runner)) return tell('goes on past its activeDeadlineSeconds');
  const { binding } = spec;
  const isGone = binding?.hostUID !== hostObject(world.server, binding?.hostName ?? '')?.metadata.uid;
  const isFree = hasFailed(runner) || (isGone && status?.scriptAttempt !== binding?.attempt);
  if (binding === undefined || isFree) return pendingUnrest(world, runner);
  const host = world.hosts.find(({ name }) => name === binding.hostName);
  const vm = host?.vms().find(({ identity }) => identity.uid === metadata.uid);
  const ready = getCondition(status?.conditions, 'Ready');
  // Of a guest that nothing is wanted of any more, nobody notices that it is silent.
  if (vm?.answers === false && ready?.status !== 'False') return [];
  if (ready?.status !== 'True') return tell(`is ${status?.phase}, neither ready nor over (${ready?.reason})`);
  if (vm === undefined) return tell(`is told to be ready, and has no VM on ${binding.hostName}`);
  if (vm.identity.attempt !== binding.attempt) return tell('is ready by the VM of another attempt');
  if (isJobOver(runner, vm)) return tell('is told to be ready, and its job is over');
  if (status?.ipAddress !== undefined && status.ipAddress !== vm.prepared.endpoints.guestIp) {
    return tell("is told to have an address that is not its VM's");
  }
  if (holds.length !== 1) return tell(`is held by ${metadata.finalizers?.join(', ')}`);
  return [];
}

const isReady = ({ status }: Host): boolean => isTrue(status?.conditions, 'Ready');

function isPastDeadline({ timeline }: World, { metadata, spec }: Runner): boolean {
  const { activeDeadlineSeconds: limit } = spec;
  if (limit === undefined) return false;
  return EPOCH + timeline.now > Date.parse(metadata.creationTimestamp ?? '') + (limit + 90) * 1_000;
}

/** Deleted in time, or so nearly. */
function isPastTtl({ timeline }: World, { spec, status }: Runner): boolean {
  const { ttlSecondsAfterFinished: ttl } = spec;
  if (ttl === undefined || status?.finishedAt === undefined) return false;
  return EPOCH + timeline.now > Date.parse(status.finishedAt) + (ttl + 90) * 1_000;
}

function isJobOver({ spec: { completion } }: Runner, { script, agent }: SimVm): boolean {
  if (completion === 'Never' || script.state !== 'exited') return false;
  return completion === 'Script' || agent === 'Finished';
}

/** A Runner may wait for ever, if it says why, and if that is true. */
function pendingUnrest({ server, hosts }: World, { metadata, spec, status }: Runner): string[] {
  const tell = (what: string): string[] => [`Runner ${metadata.name} ${what}`];
  const bound = getCondition(status?.conditions, 'Bound');
  const ready = getCondition(status?.conditions, 'Ready');
  const isLost = bound?.status === 'True' && ready?.reason === 'HostLost';
  if (bound?.status !== 'False' && !isLost) return tell('waits, and does not say why');
  if (!isLost && bound?.reason !== 'NoHostFits') return tell(`waits for ${bound?.message}`);
  const why = (isLost ? ready : bound)?.message;
  const large = spec.className === 'large';
  const size = large ? { cpu: 4, memory: '8Gi', disk: '40Gi' } : { cpu: 1, memory: '1Gi', disk: '4Gi' };
  for (const host of hosts) {
    const object = hostObject(server, host.name);
    if (object === undefined || !isReady(object)) continue;
    if (!host.templates.has(spec.templateName)) continue;
    if (fits(sum(takenOf(server, host.name), size), roomOf(object))) {
      return tell(`waits although ${host.name} has room: "${why}"`);
    }
  }
  return [];
}

function hostUnrest({ server }: World, host: SimHost, runners: readonly Runner[]): string[] {
  const unrest: string[] = [];
  const object = hostObject(server, host.name);
  const ready = getCondition(object?.status?.conditions, 'Ready');
  if (ready?.status !== 'True')
    unrest.push(`host ${host.name} is not ready (${ready?.reason ?? 'no object'})`);
  const isWanted = (uid: string, attempt: number): boolean =>
    runners.some(
      (runner) =>
        runner.metadata.uid === uid &&
        runner.spec.binding?.hostName === host.name &&
        runner.spec.binding.attempt === attempt &&
        !hasFailed(runner) &&
        !isOver(runner),
    );
  for (const name of host.disk.bundles.keys()) {
    const { uid = '', attempt = 0 } = parseBundleName(name) ?? {};
    if (!isWanted(uid, attempt)) unrest.push(`${host.name} has the bundle ${name}, which nobody wants`);
  }
  for (const { identity, isOrphan } of host.vms()) {
    const isForgotten = isOrphan && identity.hostUid !== object?.metadata.uid;
    if (!isForgotten && !isWanted(identity.uid, identity.attempt)) {
      unrest.push(`${host.name} runs the VM ${identity.uid}.${identity.attempt}, which nobody wants`);
    }
  }
  return unrest;
}
