import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { VERSION } from '../../cli/version.ts';
import { runController } from '../../controller/main.ts';
import type { Host } from '../../crds/host.ts';
import { LINUX_HOSTS, RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { Informer } from '../../kube/informer.ts';
import type { Stored } from '../../kube/object.ts';
import { startNodeDaemon } from '../../node-daemon/main.ts';
import { bundlePaths } from '../../node-daemon/vm/bundle.ts';
import { followConsole, saysSshdListens } from '../../node-daemon/vm/console.ts';
import { CallLog } from '../harness/calls.ts';
import { Moments } from '../harness/moments.ts';
import type { BenchContext } from '../harness/run.ts';
import { watchVmProcesses } from '../harness/vm-processes.ts';
import { HOST_NAME, type World } from '../harness/world.ts';

const HOST_READY_LIMIT_MS = 60_000;
/** The guest agent's line on the console: the guest has then finished starting. */
const AGENT_UP = /shoesvz: sshd listening/;

/**
 * Controller and node daemon in this process, so that one clock stamps what each of them does. Moments, each
 * named `<Runner UID> <what>`: `bound`, `told` (why it waits), `sshReady`, `ready`, `gone`: the watch event that
 * first showed it; `spawned`, `killed`, `ended`: the VM's process; `sshd listening`, `agent up`: read on the
 * guest's console.
 */
export interface Stage {
  readonly world: World;
  readonly moments: Moments;
  readonly calls: CallLog;
  readonly accelerator: string;
}

export async function startStage(context: BenchContext, world: World, maxRunners: number): Promise<Stage> {
  const { onEnd, tell } = context;
  const moments = new Moments();
  const calls = new CallLog();
  const stops = new Map<string, () => void>();
  const complain = (fields: object, message: string): void => tell(`${message} ${JSON.stringify(fields)}`);
  const log = { debug() {}, info() {}, warn: complain, error: complain };
  const unwatch = watchVmProcesses(moments, (uid) => {
    const stop = followConsole(bundlePaths(world.hostRoot, uid, 1).serialLog, (line) => {
      if (saysSshdListens(line)) moments.stamp(`${uid} sshd listening`);
      if (AGENT_UP.test(line)) moments.stamp(`${uid} agent up`);
    });
    stops.set(uid, stop);
    void moments.seen(`${uid} ended`, 2 ** 31 - 1).then(() => stops.get(uid)?.());
  });
  onEnd(async () => {
    for (const stop of stops.values()) stop();
    unwatch();
  });
  const client = (product: string) => {
    const { kubeconfigPath } = world.controlPlane;
    const untraced = loadKubeClient({ kubeconfigPath, userAgent: `shoes-vz-${product}/${VERSION}` });
    onEnd(() => untraced.close());
    return calls.traced(product, untraced);
  };
  const controller = await runController({ client: client('controller'), log });
  onEnd(() => controller.stop());
  await controller.ready;
  const daemon = await startNodeDaemon({
    client: client('node-daemon'),
    hostRoot: world.hostRoot,
    hostName: HOST_NAME,
    driver: 'qemu',
    maxRunners,
    guestLinkPort: 0,
    stateFile: join(world.hostRoot, 'runner-state.json'),
    version: VERSION,
    log,
  });
  onEnd(() => daemon.stop());
  onEnd(() => world.burnAll());
  await followRunners(context, world, moments);
  const host = await readyHost(world);
  return { world, moments, calls, accelerator: host.status?.nodeInfo?.accelerator ?? 'unknown' };
}

async function followRunners({ onEnd }: BenchContext, { client }: World, moments: Moments): Promise<void> {
  const informer = new Informer<Runner>({ client, type: RUNNERS });
  onEnd(() => informer.stop());
  const see = (runner: Stored<Runner>): void => {
    const { uid } = runner.metadata;
    const is = (type: string, status: string): boolean =>
      runner.status?.conditions?.some((one) => one.type === type && one.status === status) === true;
    if (runner.spec.binding !== undefined) moments.stamp(`${uid} bound`);
    if (is('Bound', 'False')) moments.stamp(`${uid} told`);
    if (is('SSHReady', 'True')) moments.stamp(`${uid} sshReady`);
    if (is('Ready', 'True')) moments.stamp(`${uid} ready`);
  };
  informer.on({
    added: see,
    updated: (_, runner) => see(runner),
    deleted: ({ metadata }) => moments.stamp(`${metadata.uid} gone`),
  });
  informer.start();
  await informer.synced;
}

/** A Runner that is declared before its host can take it would measure the host's start. */
async function readyHost({ client }: World): Promise<Host> {
  const isReady = ({ status }: Host): boolean =>
    status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true &&
    (status.templates?.length ?? 0) > 0;
  const deadline = performance.now() + HOST_READY_LIMIT_MS;
  for (;;) {
    const host = await client.resources<Host>(LINUX_HOSTS).get({ name: HOST_NAME });
    if (host !== undefined && isReady(host)) return host;
    if (performance.now() > deadline) throw new Error('the host is not Ready');
    await delay(100);
  }
}
