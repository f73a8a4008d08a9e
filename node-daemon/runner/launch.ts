import { finalizerName } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import type { Template } from '../../crds/template.ts';
import { sleep } from '../../kube/clock.ts';
import { ExplainedError } from '../../kube/explained-error.ts';
import type { Stored } from '../../kube/object.ts';
import { type BundlePaths, type PreparedVm, type VmControl, VmError } from '../vm/driver.ts';
import type { GuestMetadata, OutcomeReason, RuntimeMetadata } from '../vm/metadata.ts';
import type { TemplateBundle } from '../vm/template.ts';
import type { MadeSecrets, RunnerPorts } from './ports.ts';
import { type Timeouts, timeoutsOf } from './timeouts.ts';

export type LaunchResult =
  | { readonly state: 'started'; readonly control: VmControl }
  /** The API server no longer says that the VM is ours to start, or the Lease ran out: nothing was spawned. */
  | { readonly state: 'withdrawn'; readonly why: string }
  | { readonly state: 'failed'; readonly reason: OutcomeReason; readonly message: string };

/** What a launch rests on: the Template as it is now and the bundle that the binding named. */
interface Golden {
  readonly template: Stored<Template>;
  readonly bundle: TemplateBundle;
  /** Of this start: what becomes of the Template later no longer counts. */
  readonly timeouts: Timeouts;
}

/**
 * Bundle, clone, seed disk, process: everything from a binding to a VM that runs. The order is that of the
 * binding protocol: the identity is durable before anything is made (line 1), and a quorum read says that the
 * binding is still ours just before the process is spawned (line 5). `beforeStart` is awaited when all of the
 * bundle is durable and nothing runs yet. Never rejects.
 */
export async function launch(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  paths: BundlePaths,
  signal: AbortSignal,
  beforeStart: (metadata: RuntimeMetadata) => Promise<void>,
): Promise<LaunchResult> {
  try {
    const template = await findTemplate(ports, runner.spec.templateName, signal);
    const timeouts = timeoutsOf(runner.spec, template.spec);
    const prepared = await withinLimit(ports, timeouts.cloneMs, signal, async (limited) => {
      const golden = { template, bundle: await findBundle(ports, runner, template, limited), timeouts };
      return await prepare(ports, runner, golden, paths, limited, beforeStart);
    });
    const withdrawn = await withdrawnWhy(ports, runner, signal);
    if (withdrawn !== undefined) return { state: 'withdrawn', why: withdrawn };
    const control = await ports.runtime.start(paths, prepared, () => ports.clock.now());
    return { state: 'started', control };
  } catch (error) {
    if (signal.aborted) return { state: 'withdrawn', why: 'the launch was called off' };
    const isLimit = error instanceof VmError && error.reason === 'VmLimit';
    return { state: 'failed', ...(isLimit ? await explainLimit(ports, paths, error) : explain(error)) };
  }
}

/** `timeouts.clone` ran out. */
class CloneTimeout extends ExplainedError {}

/** What `timeouts.clone` limits: all that the host does on its own, and nothing that waits for the API server. */
async function withinLimit<T>(
  ports: RunnerPorts,
  limitMs: number,
  signal: AbortSignal,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const timer = ports.clock.setTimeout(() => limit.abort(), limitMs);
  try {
    return await work(AbortSignal.any([signal, limit.signal]));
  } catch (error) {
    if (!limit.signal.aborted || error instanceof VmError) throw error;
    throw new CloneTimeout(`the template was not cloned within ${limitMs / 1000} s (timeouts.clone)`);
  } finally {
    timer.cancel();
  }
}

function explain(error: unknown): { reason: OutcomeReason; message: string } {
  if (isNoRoom(error)) return { reason: 'OutOfCapacity', message: error.message };
  if (error instanceof VmError) {
    const started = error.reason === 'StartFailed' || error.reason === 'PortTaken';
    return { reason: started ? 'StartFailed' : 'CloneFailed', message: error.message };
  }
  const reason = error instanceof CloneTimeout ? 'CloneTimeout' : 'CloneFailed';
  return { reason, message: error instanceof Error ? error.message : String(error) };
}

/** A disk that is full is the host's to mend, and no fault of the start. */
const isNoRoom = (error: unknown): error is Error =>
  error instanceof VmError
    ? error.reason === 'NoRoom'
    : error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');

/**
 * While VMs of this host run the limit may be theirs. While none does, what the hypervisor counts is gone: then no
 * VM starts here before the machine is rebooted. Neither is the start's fault.
 */
async function explainLimit(
  ports: RunnerPorts,
  own: BundlePaths,
  { message }: VmError,
): Promise<{ reason: OutcomeReason; message: string }> {
  if (await mayOthersRun(ports, own)) return { reason: 'OutOfCapacity', message };
  const why = `the hypervisor refuses to start a VM, and none runs here: it still counts some that are gone (${message})`;
  await ports.host.needsReboot(why);
  return { reason: 'HostNeedsReboot', message: why };
}

/** What cannot be observed may run. */
async function mayOthersRun({ bundles, runtime }: RunnerPorts, own: BundlePaths): Promise<boolean> {
  const listed = await bundles.list().catch(() => undefined);
  if (listed === undefined) return true;
  const others = listed.bundles.filter(({ dir }) => dir !== own.dir);
  const seen = await Promise.all(others.map((bundle) => runtime.observe(bundle)));
  for (const vm of seen) if (vm.state === 'present') vm.control.close();
  return seen.some(({ state }) => state !== 'absent');
}

/** How often what a launch waits for is looked at again. */
const RETRY_MS = 1_000;

/** Waits for an API server that does not answer: that says nothing about the Template. */
async function findTemplate(
  ports: RunnerPorts,
  name: string,
  signal: AbortSignal,
): Promise<Stored<Template>> {
  for (let tries = 1; ; tries += 1) {
    signal.throwIfAborted();
    const template = await ports.api.template(name).catch((error: unknown) => {
      if (tries === 1) ports.log.warn({ err: error, template: name }, 'the Template cannot be read yet');
      return 'unreadable' as const;
    });
    if (template === undefined) throw new VmError('TemplateMissing', `there is no Template ${name}`);
    if (template !== 'unreadable') return template;
    await sleep(ports.clock, RETRY_MS, signal);
  }
}

/** Waits for a bundle that is not there: after a start it is verified before it is offered. */
async function findBundle(
  ports: RunnerPorts,
  runner: Runner,
  template: Template,
  signal: AbortSignal,
): Promise<TemplateBundle> {
  const { name } = template.spec.source.bundle;
  const digest = runner.spec.binding?.templateDigest;
  for (;;) {
    const bundle = ports.host.templates().get(name);
    if (bundle !== undefined && bundle.metadata.digest === digest) return bundle;
    if (bundle !== undefined || signal.aborted) {
      const message = `this host does not hold the bundle ${name} with the digest ${digest} that the Runner is bound to`;
      throw new VmError('TemplateMissing', message);
    }
    await sleep(ports.clock, RETRY_MS, signal);
  }
}

async function prepare(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  golden: Golden,
  paths: BundlePaths,
  signal: AbortSignal,
  beforeStart: (metadata: RuntimeMetadata) => Promise<void>,
): Promise<PreparedVm> {
  const { bundles, runtime } = ports;
  const identity = { uid: paths.uid, attempt: paths.attempt, hostUid: ports.host.uid() };
  await bundles.create({
    identity,
    runner: { namespace: runner.metadata.namespace ?? 'default', name: runner.metadata.name },
    template: { name: golden.bundle.metadata.name, digest: golden.bundle.metadata.digest },
    createdAt: ports.clock.now(),
    timeouts: golden.timeouts,
  });
  const began = ports.clock.monotonic();
  const { ssh, guestAgent } = golden.template.spec;
  const spec = {
    identity,
    templateDir: golden.bundle.dir,
    resources: resourcesOf(runner, golden.bundle),
    guestPorts: { ssh: ssh.port, agent: guestAgent.port },
    notifyPort: ports.guestLink.port,
    seedDisk: guestAgent.enabled,
  };
  const [prepared, secrets] = await Promise.all([
    runtime.prepare(paths, spec, signal),
    ports.secrets.make(paths, signal),
  ]);
  const cloneMs = Math.round(ports.clock.monotonic() - began);
  if (guestAgent.enabled) await secrets.writeSeed(seedConfig(runner, golden, paths, prepared));
  const guest = guestMetadata(golden, secrets.hostKey);
  await beforeStart(await bundles.update(paths, { cloneMs, guest }));
  return prepared;
}

/** The disk is never smaller than the template's: a filesystem cannot be cut. */
function resourcesOf(runner: Runner, bundle: TemplateBundle): PreparedVm['spec']['resources'] {
  const asked = runner.spec.binding?.resources;
  if (asked === undefined) throw new Error('the Runner is not bound');
  return {
    cpu: asked.cpu,
    memoryBytes: quantityBytes(asked.memory),
    diskBytes: Math.max(quantityBytes(asked.disk), bundle.metadata.diskBytes),
  };
}

function guestMetadata({ template, bundle }: Golden, hostKey: string): GuestMetadata {
  const { ssh, guestAgent } = template.spec;
  const secret = ssh.privateKeySecretRef;
  return {
    user: ssh.user,
    agent: guestAgent.enabled,
    hostKey: guestAgent.enabled ? hostKey : bundle.metadata.hostKey,
    ...(secret === undefined ? {} : { privateKeySecretRef: secret }),
  };
}

function seedConfig(
  runner: Runner,
  { template }: Golden,
  { uid, attempt }: BundlePaths,
  prepared: PreparedVm,
): Parameters<MadeSecrets['writeSeed']>[0] {
  return {
    hostname: runner.spec.runnerName ?? runner.metadata.name,
    user: template.spec.ssh.user,
    notifyUrl: prepared.endpoints.notifyUrl,
    agentPort: template.spec.guestAgent.port,
    uid,
    attempt,
  };
}

/**
 * Lines 5 and 13: waits until a quorum read says either that the binding is still ours, with the Lease fresh
 * (undefined), or why the process must not be spawned.
 */
async function withdrawnWhy(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  signal: AbortSignal,
): Promise<string | undefined> {
  for (;;) {
    signal.throwIfAborted();
    const { namespace, name, uid } = runner.metadata;
    const current = await ports.api.get({ namespace, name }).catch(() => 'unreadable' as const);
    if (current === undefined) return 'the Runner is gone';
    if (current !== 'unreadable') {
      if (current.metadata.uid !== uid) return 'the Runner is gone';
      if (current.metadata.deletionTimestamp !== undefined) return 'the Runner is being deleted';
      const binding = current.spec.binding;
      const ours = binding?.hostUID === ports.host.uid() && binding.attempt === runner.spec.binding?.attempt;
      if (!ours) return 'the Runner is bound elsewhere';
      const own = finalizerName(ports.host.name, binding.attempt);
      if (!current.metadata.finalizers?.includes(own)) return 'the VM was declared dead';
      if (ports.host.leaseFresh()) return undefined;
    }
    await sleep(ports.clock, RETRY_MS, signal);
  }
}
