import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Host } from '../../crds/host.ts';
import { HOST_RESOURCES, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { systemClock } from '../../kube/clock.ts';
import { Informer } from '../../kube/informer.ts';
import type { Stored } from '../../kube/object.ts';
import { openSession } from '../../node-daemon/ssh/session.ts';
import { bundlePaths } from '../../node-daemon/vm/bundle.ts';
import type { TemplateMetadata } from '../../node-daemon/vm/template.ts';
import { recallAccelerator, rememberAccelerator } from '../accelerator-cache.ts';
import { burnAll, within } from '../burn.ts';
import { cacheDirectory } from '../control-plane/binaries-cache.ts';
import { CliError } from '../failure.ts';
import { ensurePackages } from '../setup/packages.ts';
import { type System, startSystem } from '../system.ts';
import { buildLinuxTemplate } from '../template/build.ts';
import { placeTemplate } from '../template/place.ts';
import { demoClass, demoRunner, demoTemplate } from './manifests.ts';
import { type DemoReport, Story } from './story.ts';

export interface DemoOptions {
  readonly dataDir: string;
  readonly log: Logger;
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

/** A guest under plain emulation on a busy machine is slow; nothing takes this long where things go well. */
const PATIENCE_MS = 180_000;

/** The whole story, from a machine with nothing installed to a VM that was used and is gone. */
export async function runDemo({ dataDir, log, tell, signal }: DemoOptions): Promise<DemoReport> {
  await ensurePackages(['run-vms', 'build-template'], { progress: tell });
  const hostRoot = join(dataDir, 'host');
  const cacheDir = cacheDirectory(process.env);
  const cached = join(cacheDir, 'templates');
  const template = await buildLinuxTemplate({ name: 'debian', out: cached, log: tell, signal });
  await placeTemplate(join(cached, template.name), join(hostRoot, 'templates'));
  await recallAccelerator(cacheDir, hostRoot);
  const system = await startSystem({
    dataDir,
    hostRoot,
    guestLinkPort: 0,
    placement: 'spread',
    metricsPort: 0,
    daemonMetricsPort: 0,
    log,
    progress: tell,
  });
  try {
    tell(`API server  ${system.controlPlane.server} is ready, as is the host ${system.daemon.hostName}`);
    const life = tellLife(system, template, tell);
    return await Promise.race([life, system.failed, aborted(signal)]);
  } finally {
    await burnAll({
      client: system.client,
      hostRoot,
      timeoutMs: PATIENCE_MS,
      progress: () => undefined,
    }).catch(() => tell('the VM could not be purged; see --keep'));
    await rememberAccelerator(cacheDir, hostRoot);
    await system.stop();
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

async function tellLife(
  system: System,
  template: TemplateMetadata,
  tell: (line: string) => void,
): Promise<DemoReport> {
  const { client } = system;
  const story = new Story(tell);
  const ended = Promise.withResolvers<Stored<Runner>>();
  const gone = Promise.withResolvers<void>();
  const informer = new Informer<Runner>({ client, type: RUNNERS });
  const see = (runner: Stored<Runner>): void => {
    story.see(runner);
    if (isReady(runner)) ended.resolve(runner);
    if (runner.status?.phase === 'Error') ended.reject(new CliError(`the Runner failed: ${why(runner)}`));
  };
  informer.on({ added: see, updated: (_, runner) => see(runner), deleted: () => gone.resolve() });
  informer.start();
  try {
    await client.resources<RunnerClass>(RUNNER_CLASSES).create(demoClass);
    await client.resources<Template>(TEMPLATES).create(demoTemplate(template));
    await client.resources<Runner>(RUNNERS).create(demoRunner);
    const deadline = systemClock.monotonic() + PATIENCE_MS;
    const ready = await within(
      deadline,
      ended.promise,
      () => `the Runner is not Ready: ${why(informer.store.list()[0])}`,
    );
    await show(system, ready, tell);
    const burning = systemClock.monotonic();
    await client.resources<Runner>(RUNNERS).delete(ready.metadata);
    await within(deadline, gone.promise, () => 'the Runner is not gone');
    tell(
      `gone        ${Math.round(systemClock.monotonic() - burning)} ms after its deletion: VM, disk, ports and object`,
    );
    return report(await hostOf(system), ready, story);
  } finally {
    await informer.stop();
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
  const session = await openSession(target, { timeoutMs: 10_000 });
  try {
    const { stdout } = await session.exec('cat /proc/uptime', { timeoutMs: 10_000, maxOutputBytes: 1024 });
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
