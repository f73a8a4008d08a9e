import type { HostSpec, HostStatus, HostTemplate } from '../../crds/host.ts';
import type { Condition } from '../../crds/meta.ts';
import { bytesQuantity } from '../../crds/scalars.ts';
import { removeCondition, setCondition } from '../../kube/conditions.ts';
import type { Capabilities, VmDriver } from '../vm/driver.ts';
import { allocatableOf, capacityOf } from './capacity.ts';
import type { DiskRoom } from './disk-room.ts';
import type { Machine } from './machine.ts';

/** Most templates that a status holds. */
export const MOST_TEMPLATES = 256;
const MESSAGE_MAX = 1024;
const MIB = 2 ** 20;

/** What trying the driver came to. */
export type Probe =
  | { readonly state: 'running' }
  | { readonly state: 'works'; readonly capabilities: Capabilities }
  | { readonly state: 'failed'; readonly message: string };

/** What does not change while a daemon runs. */
export interface HostIdentity {
  readonly machine: Machine;
  readonly machineId: string;
  readonly root: string;
  readonly driver: VmDriver['name'];
  readonly daemonVersion: string;
}

/** Everything that a host's status tells of. */
export interface HostFacts extends HostIdentity {
  readonly generation: number | undefined;
  readonly spec: HostSpec;
  readonly probe: Probe;
  /** Verified bundles, in the order of their names. */
  readonly templates: readonly HostTemplate[];
  /** What is wrong with other bundles, by name: one line each. */
  readonly problems: ReadonlyMap<string, string>;
  readonly room: DiskRoom;
  /** Why the machine must be rebooted; absent: it need not be. */
  readonly needsReboot?: string | undefined;
  /** `stopping`: the daemon ends in order; its VMs run on. */
  readonly life: 'live' | 'deleting' | 'stopping';
}

/**
 * The status that the facts call for. Equal facts give an equal status, so that an idle host writes nothing.
 * Conditions of other types than its own are left as they are. `now` is epoch milliseconds.
 */
export function decideStatus(facts: HostFacts, before: HostStatus | undefined, now: number): HostStatus {
  const templates = facts.templates.slice(0, MOST_TEMPLATES);
  const reboot = needsReboot(facts);
  let conditions = before?.conditions;
  if (reboot.length === 0) conditions = removeCondition(conditions ?? [], 'NeedsReboot');
  for (const verdict of [ready(facts), templatesHealthy(facts), ...reboot]) {
    const condition = { ...verdict, message: bounded(verdict.message), observedGeneration: facts.generation };
    conditions = setCondition(conditions, condition, new Date(now).toISOString());
  }
  return {
    observedGeneration: facts.generation ?? 0,
    capacity: capacityOf(facts.machine),
    allocatable: allocatableOf(facts.machine, facts.spec),
    nodeInfo: nodeInfo(facts, before),
    templates,
    conditions,
  };
}

type Verdict = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

function ready(facts: HostFacts): Verdict {
  const { probe, room } = facts;
  const is = (status: Condition['status'], reason: string, message: string): Verdict => ({
    type: 'Ready',
    status,
    reason,
    message,
  });
  if (facts.life === 'deleting') {
    return is('False', 'Deleting', 'the host is being deleted: its VMs are destroyed first');
  }
  if (facts.life === 'stopping') {
    return is('False', 'DaemonStopped', 'the node daemon was stopped in order; VMs that run go on');
  }
  if (facts.needsReboot !== undefined) {
    return is('False', 'NeedsReboot', `the machine has to be rebooted: ${facts.needsReboot}`);
  }
  if (probe.state === 'running') {
    return is('Unknown', 'Probing', `trying how the driver ${facts.driver} runs VMs on this machine`);
  }
  if (probe.state === 'failed') return is('False', 'DriverUnavailable', probe.message);
  if (!room.enough) {
    const needed = bytesQuantity(Math.ceil(room.neededBytes / MIB) * MIB);
    return is(
      'False',
      'DiskPressure',
      `too little room on the volume of ${facts.root}: no VM is started before ${needed} are free`,
    );
  }
  const { version, accelerator, acceleratorReason } = probe.capabilities;
  const because = acceleratorReason === undefined ? '' : ` (${acceleratorReason})`;
  return is('True', 'DaemonReady', `VMs run under ${facts.driver} ${version} with ${accelerator}${because}`);
}

/** Said only of a machine that must be. */
function needsReboot({ needsReboot: why }: HostFacts): Verdict[] {
  return why === undefined ? [] : [{ type: 'NeedsReboot', status: 'True', reason: 'VmLimit', message: why }];
}

function templatesHealthy(facts: HostFacts): Verdict {
  const problems = [...facts.problems.values()];
  const surplus = facts.templates.length - MOST_TEMPLATES;
  if (surplus > 0) {
    problems.push(`${surplus} templates are not offered: a host offers at most ${MOST_TEMPLATES}`);
  }
  if (problems.length > 0) {
    return {
      type: 'TemplatesHealthy',
      status: 'False',
      reason: 'TemplateBroken',
      message: problems.join('; '),
    };
  }
  return facts.templates.length === 0
    ? {
        type: 'TemplatesHealthy',
        status: 'True',
        reason: 'NoTemplates',
        message: `there is no template in ${facts.root}/templates yet`,
      }
    : { type: 'TemplatesHealthy', status: 'True', reason: 'Verified', message: 'all digests are right' };
}

/** While the driver is tried, what an earlier daemon found stands. */
function nodeInfo(facts: HostFacts, before: HostStatus | undefined): HostStatus['nodeInfo'] {
  const { machine, probe } = facts;
  const known = before?.nodeInfo?.driver === facts.driver ? before.nodeInfo : undefined;
  const found = probe.state === 'works' ? probe.capabilities : undefined;
  return {
    os: machine.os,
    osVersion: machine.osVersion,
    arch: machine.arch,
    driver: facts.driver,
    driverVersion: (found?.version ?? known?.driverVersion ?? 'unknown').slice(0, 128),
    accelerator: (found?.accelerator ?? known?.accelerator ?? 'unknown').slice(0, 32),
    reflink: found?.reflink ?? known?.reflink ?? false,
    daemonVersion: facts.daemonVersion,
    machineID: facts.machineId,
    hostRoot: facts.root,
  };
}

function bounded(message: string): string {
  return message.length <= MESSAGE_MAX ? message : `${message.slice(0, MESSAGE_MAX - 1)}…`;
}
