import { finalizerName } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import type { BundleView } from '../vm/bundle.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { RuntimeMetadata } from '../vm/metadata.ts';
import type { Ages, BundleFacts, BundleStage, ObservedRunner, RunnerFacts, StrayFacts } from './facts.ts';
import { observeShortage } from './observe-room.ts';
import type { Bundles, RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';
import type { Sessions } from './sessions.ts';
import { timeoutsOf } from './timeouts.ts';

/** The facts, and what acting on them needs besides. */
export interface Observation {
  readonly facts: RunnerFacts;
  /** Of the bundle in `facts.bundle`; of the attempt that is bound where there is none yet. */
  readonly session: VmSession;
  readonly metadata: RuntimeMetadata | undefined;
}

interface SeenBundle {
  readonly paths: BundlePaths;
  readonly facts: BundleFacts;
  readonly metadata: RuntimeMetadata | undefined;
}

/** Where a Runner is to be found. */
export interface Whereabouts {
  /** The informer's object, possibly stale. */
  readonly cached: Stored<Runner> | undefined;
  /** Its name, where the informer does not show it but it may carry a finalizer of this host. */
  readonly ref: ObjectRef | undefined;
}

/** What holds for all Runners of the host. */
export interface HostWide {
  /** Line 4 of the binding protocol: what was on disk at the start, and is not wanted, is gone. */
  readonly isCleared: boolean;
  /** All Runners bound to this host by name, as the informer shows them. */
  boundHere(): readonly Stored<Runner>[];
}

/**
 * Gathers what is true of one Runner UID. Where the informer has no object, the API server is asked by quorum,
 * because a Runner that the informer does not show may be gone, bound elsewhere or merely not seen yet. undefined:
 * nothing of it is here. Throws where that cannot be said.
 */
export async function observe(
  ports: RunnerPorts,
  sessions: Sessions,
  uid: string,
  whereabouts: Whereabouts,
  { isCleared, boundHere }: HostWide,
): Promise<Observation | undefined> {
  const launching = launchesOf(sessions, uid);
  const seen = await look(ports.bundles, uid, launching);
  const left = sessions.ofUid(uid)[0];
  const { cached, ref } = whereabouts;
  if (seen.length === 0 && left === undefined && cached === undefined && ref === undefined) return undefined;
  const runner = await observeRunner(ports, uid, whereabouts, seen);
  const held = heldAttempts(ports, runner);
  const attempt =
    runner.is === 'bound'
      ? attemptOf(runner.runner)
      : (seen[0]?.paths.attempt ?? held[0] ?? left?.paths.attempt);
  if (attempt === undefined) {
    if (runner.is === 'unknown') throw new Error(runner.why);
    return undefined;
  }
  const own = seen.find((one) => one.paths.attempt === attempt && one.facts.hostUid === ports.host.uid());
  const current = own ?? (runner.is === 'bound' ? undefined : seen[0]);
  const session = sessions.of(ports.bundles.paths(uid, attempt));
  if (current?.metadata !== undefined && current.facts.stage === 'Started') {
    await session.welcomeReports(current.metadata);
  }
  const nothingBegun = seen.length === 0 && session.isUnused;
  const shortage =
    runner.is === 'bound' && nothingBegun && isCleared
      ? await observeShortage(ports, sessions, session, runner.runner, boundHere)
      : undefined;
  const facts: RunnerFacts = {
    now: ports.clock.now(),
    leaseFresh: ports.host.leaseFresh(),
    host: { name: ports.host.name, uid: ports.host.uid(), state: ports.host.state(), isCleared },
    runner,
    shortage,
    attempt,
    bundle: current && { ...current.facts, outcome: current.facts.outcome ?? session.outcome },
    ages: { ...agesOf(session, current), runnerCreated: ageOf(sessions, runner) },
    timeouts: current?.metadata?.timeouts ?? timeoutsOf(specOf(runner), undefined),
    strays: [
      ...seen.filter((one) => one !== current).map((one) => asStray(one, sessions)),
      ...traceless(ports, sessions, runner, held, seen),
    ],
    heldAttempts: held,
    ...(await vmOf(session, current, launching.has(session.paths.dir))),
    session: session.facts,
    endpoint: endpointOf(current?.metadata),
    guestAgent: current?.metadata?.guest?.agent ?? true,
  };
  return { facts, session, metadata: current?.metadata };
}

const attemptOf = ({ spec }: Runner): number => spec.binding?.attempt ?? 1;

/**
 * The bundles of this UID. One that a launch has begun to make, and whose identity is not on disk yet, is none: it
 * looks like what a purge leaves. Whether there is a launch is asked first, since it may end meanwhile.
 */
async function look(bundles: Bundles, uid: string, making: ReadonlySet<string>): Promise<SeenBundle[]> {
  const seen: SeenBundle[] = [];
  for (const paths of (await bundles.list()).bundles) {
    if (paths.uid !== uid) continue;
    const view = await bundles.view(paths);
    if (view === undefined || (view.metadata.state === 'absent' && making.has(paths.dir))) continue;
    seen.push(asSeen(paths, view));
  }
  return seen;
}

/** Directories of the bundles of a UID that launches are making. */
function launchesOf(sessions: Sessions, uid: string): ReadonlySet<string> {
  const launching = sessions.ofUid(uid).filter(({ facts }) => facts.launch.state === 'running');
  return new Set(launching.map(({ paths }) => paths.dir));
}

/**
 * While a launch or a purge is under way it alone speaks to the VM. `wasLaunching`: when the bundles were looked at. One
 * that has come to its end since has made a bundle that was not seen: the pass that follows sees it.
 */
async function vmOf(
  session: VmSession,
  bundle: SeenBundle | undefined,
  wasLaunching: boolean,
): Promise<Pick<RunnerFacts, 'vm' | 'vmUnknownForMs'>> {
  const { launch, purge } = session.facts;
  if (launch.state === 'running' || purge.state === 'running') return { vm: 'unknown' };
  if (wasLaunching && launch.state === 'idle' && bundle === undefined) return { vm: 'unknown' };
  if (bundle?.facts.stage === 'Purged') return { vm: 'absent' };
  const vm = await session.vm.observe();
  return { vm, vmUnknownForMs: session.vm.unknownForMs };
}

function place(ports: RunnerPorts, runner: Stored<Runner>): ObservedRunner {
  return runner.spec.binding?.hostUID === ports.host.uid()
    ? { is: 'bound', runner }
    : { is: 'elsewhere', runner };
}

async function observeRunner(
  ports: RunnerPorts,
  uid: string,
  { cached, ref }: Whereabouts,
  seen: readonly SeenBundle[],
): Promise<ObservedRunner> {
  const attempt = cached?.spec.binding?.attempt ?? 0;
  // Attempts only grow: a bundle of a later one proves that the watch is behind.
  const isBehind = seen.some(
    ({ paths, facts }) => facts.hostUid === ports.host.uid() && paths.attempt > attempt,
  );
  // Whoever was found to be bound elsewhere, and is shown nonetheless, is shown as it was.
  if (cached !== undefined && ref === undefined && !isBehind) return place(ports, cached);
  return await ask(ports, uid, cached?.metadata ?? ref ?? refOf(seen));
}

const refOf = (seen: readonly SeenBundle[]): ObjectRef | undefined =>
  seen.find((one) => one.metadata !== undefined)?.metadata?.runner;

/** By quorum. A bundle that does not tell whose it is still tells the UID: all Runners are asked for then. */
async function ask(ports: RunnerPorts, uid: string, ref: ObjectRef | undefined): Promise<ObservedRunner> {
  try {
    const runner =
      ref === undefined
        ? (await ports.api.list()).find(({ metadata }) => metadata.uid === uid)
        : await ports.api.get(ref);
    return runner === undefined || runner.metadata.uid !== uid ? { is: 'absent' } : place(ports, runner);
  } catch (error) {
    return { is: 'unknown', why: error instanceof Error ? error.message : String(error) };
  }
}

const heldAttempts = (ports: RunnerPorts, observed: ObservedRunner): number[] =>
  observed.is === 'bound' || observed.is === 'elsewhere'
    ? attemptsHeldBy(ports.host.name, observed.runner)
    : [];

/** Attempts whose finalizer of this host stands on the object. */
export function attemptsHeldBy(hostName: string, { metadata }: Runner): number[] {
  const prefix = finalizerName(hostName, 0).slice(0, -1);
  const own = (metadata.finalizers ?? []).filter((name) => name.startsWith(prefix));
  return own.map((name) => name.slice(prefix.length)).flatMap((attempt) => asAttempt(attempt));
}

const asAttempt = (text: string): number[] => (/^[1-9][0-9]{0,8}$/.test(text) ? [Number(text)] : []);

const specOf = (observed: ObservedRunner): Pick<Runner['spec'], 'timeouts' | 'completion'> =>
  observed.is === 'bound' || observed.is === 'elsewhere' ? observed.runner.spec : { completion: 'Job' };

function ageOf({ ages }: Sessions, observed: ObservedRunner): number | undefined {
  if (observed.is !== 'bound') return undefined;
  const { uid, creationTimestamp } = observed.runner.metadata;
  return ages.since(Date.parse(creationTimestamp), uid);
}

function agesOf({ elapsed }: VmSession, seen: SeenBundle | undefined): Ages {
  const since = (moment: number | undefined): number | undefined =>
    moment === undefined ? undefined : elapsed.since(moment);
  const bundle = seen?.facts;
  return {
    created: since(seen?.metadata?.createdAt),
    started: since(bundle?.startedAt),
    sshReady: since(bundle?.sshReadyAt),
    scriptStarted: since(bundle?.scriptStartedAt),
    ready: since(bundle?.readyAt),
  };
}

function asStray({ paths, facts }: SeenBundle, sessions: Sessions): StrayFacts {
  const purge = sessions.at(paths)?.facts.purge;
  const purging = purge?.state === 'running';
  return { ...facts, purging, failing: purging && purge.failing !== undefined };
}

/**
 * Earlier attempts that this host still has a hold on, although nothing on disk tells of them: their VMs are looked
 * for before they are let go. Only the host object that the Runner is bound to may judge, as long as it is there.
 */
function traceless(
  { bundles, host }: RunnerPorts,
  sessions: Sessions,
  observed: ObservedRunner,
  held: readonly number[],
  seen: readonly SeenBundle[],
): StrayFacts[] {
  if (observed.is !== 'bound' || host.state() === 'vanished') return [];
  const { uid } = observed.runner.metadata;
  const attempts = held.filter(
    (attempt) => attempt < attemptOf(observed.runner) && !seen.some(({ paths }) => paths.attempt === attempt),
  );
  return attempts.map((attempt) => {
    const paths = bundles.paths(uid, attempt);
    const stage = sessions.at(paths)?.isPurged === true ? 'Purged' : 'TearingDown';
    return asStray({ paths, facts: { attempt, hostUid: '', stage }, metadata: undefined }, sessions);
  });
}

function asSeen(paths: BundlePaths, view: BundleView): SeenBundle {
  const metadata = view.metadata.state === 'present' ? view.metadata.metadata : undefined;
  const facts: BundleFacts = {
    attempt: paths.attempt,
    hostUid: metadata?.identity.hostUid ?? '',
    stage: stageOf(view, metadata),
    cloneMs: metadata?.cloneMs,
    bootToSshMs: metadata?.bootToSshMs,
    totalMs: metadata?.totalMs,
    setupMs: metadata?.setupMs,
    startedAt: metadata?.startReturnedAt,
    sshReadyAt: metadata?.sshReadyAt,
    hostKey: metadata?.guest?.hostKey,
    scriptStartedAt: metadata?.scriptStartedAt,
    readyAt: metadata?.ready?.at,
    readyReason: metadata?.ready?.reason,
    outcome: metadata?.outcome,
  };
  return { paths, facts, metadata };
}

function stageOf(view: BundleView, metadata: RuntimeMetadata | undefined): BundleStage {
  if (view.purged) return 'Purged';
  if (metadata === undefined || metadata.outcome !== undefined || metadata.tearingDownAt !== undefined) {
    return 'TearingDown';
  }
  if (metadata.startReturnedAt !== undefined) return 'Started';
  return metadata.guest === undefined ? 'Preparing' : 'Prepared';
}

function endpointOf(metadata: RuntimeMetadata | undefined): RunnerFacts['endpoint'] {
  if (metadata?.prepared === undefined || metadata.guest === undefined) return undefined;
  const { ssh, guestIp } = metadata.prepared.endpoints;
  return { host: ssh.host, port: ssh.port, user: metadata.guest.user, guestIp };
}
