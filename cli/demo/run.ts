import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from '../../crds/host.ts';
import { HOST_RESOURCES, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { systemClock } from '../../kube/clock.ts';
import { Informer } from '../../kube/informer.ts';
import type { Stored } from '../../kube/object.ts';
import { openSession } from '../../node-daemon/ssh/session.ts';
import { BundleStore, bundlePaths, templatesDir } from '../../node-daemon/vm/bundle.ts';
import { systemProcesses } from '../../node-daemon/vm/process.ts';
import { QemuDriver } from '../../node-daemon/vm/qemu/driver.ts';
import type { TemplateMetadata } from '../../node-daemon/vm/template.ts';
import { recallAccelerator, rememberAccelerator } from '../accelerator-cache.ts';
import { burnAll, within } from '../burn.ts';
import { cacheDirectory } from '../control-plane/binaries-cache.ts';
import { CliError, oneLine } from '../failure.ts';
import type { StopRequest } from '../lifetime.ts';
import { ensurePackages } from '../setup/packages.ts';
import { type System, startSystem } from '../system.ts';
import { buildLinuxTemplate } from '../template/build.ts';
import { placeTemplate } from '../template/place.ts';
import { demoClass, demoRunner, demoTemplate } from './manifests.ts';
import { type DemoReport, Story } from './story.ts';

export interface DemoOptions {
  /** Must be there. */
  readonly dataDir: string;
  readonly tell: (line: string) => void;
  readonly stop: StopRequest;
}

/** A guest under plain emulation on a busy machine is slow; nothing takes this long where things go well. */
const PATIENCE_MS = 180_000;
const ASK_MS = 10_000;

/**
 * The whole story, from a machine with nothing installed to a VM that was used and is gone. Whatever it ends with,
 * nothing of it runs any more.
 */
export async function runDemo({ dataDir, tell, stop }: DemoOptions): Promise<DemoReport> {
  const { signal } = stop;
  await ensurePackages(['run-vms', 'build-template'], { progress: tell });
  const hostRoot = join(dataDir, 'host');
  const cacheDir = cacheDirectory(process.env);
  const cached = join(cacheDir, 'templates');
  const template = await buildLinuxTemplate({ name: 'debian', out: cached, log: tell, signal });
  await placeTemplate(join(cached, template.name), templatesDir(hostRoot));
  await recallAccelerator(cacheDir, hostRoot);
  const system = await startSystem({
    dataDir,
    hostRoot,
    guestLinkPort: 0,
    placement: 'spread',
    metricsPort: 0,
    daemonMetricsPort: 0,
    logLevel: 'debug',
    progress: tell,
    signal,
  });
  try {
    tell(`API server  ${system.controlPlane.server} is ready, as is the host ${system.daemon.hostName}`);
    return await tellLife(system, template, { tell, stop });
  } finally {
    await rememberAccelerator(cacheDir, hostRoot);
    await end(system, tell);
  }
}

/** The VM goes the way of all VMs; where that is barred, because the API server died say, it is ended directly. */
async function end(system: System, tell: (line: string) => void): Promise<void> {
  const { client, failed, daemon } = system;
  const deadline = systemClock.monotonic() + PATIENCE_MS;
  const quiet = (): void => undefined;
  await burnAll({ client, hostRoot: daemon.hostRoot, deadline, ended: failed, progress: quiet }).catch(
    (error: unknown) => tell(`the Runner could not be burnt in order: ${reasonOf(error)}`),
  );
  await system.stop();
  const bundles = new BundleStore(daemon.hostRoot);
  const driver = new QemuDriver({ bundles, processes: systemProcesses() });
  for (const bundle of (await bundles.list()).bundles) await driver.purge(bundle);
}

const reasonOf = (error: unknown): string => oneLine(error instanceof Error ? error.message : String(error));

/** What the Runner comes to, as its watch shows it. */
interface Watched {
  readonly story: Story;
  readonly ready: Promise<Stored<Runner>>;
  readonly gone: Promise<void>;
  readonly last: () => Runner | undefined;
  stop(): Promise<void>;
}

function watchRunner(system: System, tell: (line: string) => void): Watched {
  const story = new Story(tell);
  const ready = Promise.withResolvers<Stored<Runner>>();
  ready.promise.catch(() => undefined);
  const gone = Promise.withResolvers<void>();
  const informer = new Informer<Runner>({ client: system.client, type: RUNNERS });
  const see = (runner: Stored<Runner>): void => {
    story.see(runner);
    if (isReady(runner)) ready.resolve(runner);
    if (runner.status?.phase === 'Error') ready.reject(new CliError(`the Runner failed: ${why(runner)}`));
  };
  informer.on({ added: see, updated: (_, runner) => see(runner), deleted: () => gone.resolve() });
  informer.start();
  return {
    story,
    ready: ready.promise,
    gone: gone.promise,
    last: () => informer.store.list()[0],
    stop: () => informer.stop(),
  };
}

async function tellLife(
  system: System,
  template: TemplateMetadata,
  { tell, stop }: Pick<DemoOptions, 'tell' | 'stop'>,
): Promise<DemoReport> {
  const { client } = system;
  const watched = watchRunner(system, tell);
  const deadline = systemClock.monotonic() + PATIENCE_MS;
  const unlessEnded = <T>(promise: Promise<T>, what: () => string): Promise<T> =>
    Promise.race([within(deadline, promise, what), system.failed, stop.interrupted]);
  try {
    await client.resources<RunnerClass>(RUNNER_CLASSES).create(demoClass);
    await client.resources<Template>(TEMPLATES).create(demoTemplate(template));
    stop.signal.throwIfAborted();
    await client.resources<Runner>(RUNNERS).create(demoRunner);
    const ready = await unlessEnded(
      watched.ready,
      () => `the Runner is not Ready: ${why(watched.last())}; see the logs`,
    );
    await show(system, ready, tell);
    const burning = systemClock.monotonic();
    await client.resources<Runner>(RUNNERS).delete(ready.metadata);
    await unlessEnded(watched.gone, () => 'the Runner is not gone');
    const burntMs = Math.round(systemClock.monotonic() - burning);
    tell(`gone        ${burntMs} ms after its deletion: VM, disk, ports and object`);
    return report(await hostOf(system), ready, watched.story);
  } finally {
    await watched.stop();
  }
}

/** Uses the VM as a person would: the script's output through the API, a command of one's own over SSH. */
async function show(system: System, runner: Stored<Runner>, tell: (line: string) => void): Promise<void> {
  const { ssh, setup, ipAddress } = runner.status ?? {};
  for (const line of (setup?.outputTail ?? '').trimEnd().split('\n')) tell(`            | ${line}`);
  tell(`ready       after ${runner.status?.timings?.totalMs} ms; the guest is ${ipAddress}`);
  if (ssh === undefined) throw new CliError('the Runner has no SSH endpoint');
  const { privateKey } = bundlePaths(system.daemon.hostRoot, runner.metadata.uid, 1);
  const target = { ...ssh, privateKey: await readFile(privateKey, 'utf8') };
  const session = await openSession(target, { timeoutMs: ASK_MS });
  try {
    const { stdout } = await session.exec('cat /proc/uptime', { timeoutMs: ASK_MS, maxOutputBytes: 1024 });
    tell(`ssh         -p ${ssh.port} ${ssh.user}@${ssh.host}: it has been up for ${stdout.split(' ')[0]} s`);
  } finally {
    session.close();
  }
}

async function hostOf({ client, daemon }: System): Promise<Stored<Host>> {
  const host = await client.resources<Host>(HOST_RESOURCES[daemon.hostKind]).get({ name: daemon.hostName });
  if (host === undefined) throw new CliError('the host object is gone');
  return host;
}

function report(host: Stored<Host>, runner: Stored<Runner>, story: Story): DemoReport {
  return {
    runner: `${runner.metadata.namespace}/${runner.metadata.name}`,
    host: host.metadata.name,
    driver: host.status?.nodeInfo?.driver ?? 'unknown',
    accelerator: host.status?.nodeInfo?.accelerator ?? 'unknown',
    phases: story.phases,
    timings: runner.status?.timings ?? {},
    setup: { exitCode: runner.status?.setup?.exitCode, output: runner.status?.setup?.outputTail },
  };
}

const isReady = (runner: Runner): boolean =>
  runner.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;

const why = (runner: Runner | undefined): string => {
  const conditions = runner?.status?.conditions ?? [];
  const told =
    conditions.find(({ type }) => type === 'Stalled') ??
    conditions.findLast(({ status }) => status !== 'True');
  return told?.message ?? 'nobody has looked at it';
};
