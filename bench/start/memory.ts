import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { Informer } from '../../kube/informer.ts';
import type { BenchContext } from '../harness/run.ts';
import { HOST_NAME, type World } from '../harness/world.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const READY_LIMIT_MS = 60_000;
const RUNNERS_LIMIT_MS = 300_000;
/** After what was done last: short-lived garbage is no resident memory worth telling of. */
const SETTLE_MS = 10_000;
const COUNT = 3;

/** Resident memory in MiB. */
interface Resident {
  readonly controller: number;
  readonly nodeDaemon: number;
}

/** Resident memory of controller and node daemon, each a process of its own, without and with Runners. */
export async function measureMemory(
  { onEnd }: BenchContext,
  world: World,
): Promise<Record<'with0Runners' | 'with3Runners', Resident>> {
  const flags = ['--kubeconfig', world.controlPlane.kubeconfigPath, '--metrics-port', '0'];
  const controller = await startProgram(['controller', ...flags], 'the controller is ready');
  onEnd(() => end(controller));
  const stateFile = join(world.hostRoot, 'runner-state.json');
  const host = ['--host-root', world.hostRoot, '--host-name', HOST_NAME, '--state-file', stateFile];
  const daemon = await startProgram(
    ['node-daemon', ...flags, ...host, '--guest-link-port', '0', '--max-runners', `${COUNT}`],
    '"msg":"ready"',
  );
  onEnd(() => end(daemon));
  onEnd(() => world.burnAll());
  const resident = async (): Promise<Resident> => {
    await delay(SETTLE_MS);
    return { controller: await residentMiB(controller), nodeDaemon: await residentMiB(daemon) };
  };
  const with0Runners = await resident();
  for (let index = 1; index <= COUNT; index += 1) await world.create(`resident-${index}`);
  await allReady(world);
  const with3Runners = await resident();
  return { with0Runners, with3Runners };
}

async function allReady({ client }: World): Promise<void> {
  const done = Promise.withResolvers<void>();
  const timer = setTimeout(() => done.reject(new Error('the Runners are not Ready')), RUNNERS_LIMIT_MS);
  const informer = new Informer<Runner>({ client, type: RUNNERS });
  const look = (): void => {
    const ready = informer.store
      .list()
      .filter(({ status }) =>
        status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True'),
      );
    if (ready.length === COUNT) done.resolve();
  };
  informer.on({ added: look, updated: look });
  informer.start();
  try {
    await done.promise;
  } finally {
    clearTimeout(timer);
    await informer.stop();
  }
}

async function startProgram(args: readonly string[], readyText: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ready = Promise.withResolvers<void>();
  let last = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    last = line;
    if (line.includes(readyText)) ready.resolve();
  });
  const fail = (): void => ready.reject(new Error(`${args[0]} is not ready: ${last}`));
  const timer = setTimeout(fail, READY_LIMIT_MS);
  child.once('exit', fail);
  try {
    await ready.promise;
    return child;
  } catch (error) {
    await end(child);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(timer);
}

async function residentMiB({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kibibytes = /^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1];
  if (kibibytes === undefined) throw new Error('the kernel does not tell the resident memory');
  return Math.round(Number(kibibytes) / 1024);
}
