import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ControlPlane, startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { type BenchContext, inScope } from '../harness/run.ts';
import { round, type Summary, summarize } from '../harness/statistics.ts';
import { startApiServer } from '../harness/world.ts';
import { type Implementation, Subject } from './subject-process.ts';
import { createRunners, delays, touchUntil, type Write } from './writer.ts';

type PerImplementation<T> = Record<Implementation, T>;

interface Figures {
  readonly heapMiBPer10000Runners: number;
  readonly residentMiBPer10000Runners: number;
  readonly cpuMsPer1000Events: number;
  /** PATCH sent → handler called. */
  readonly eventDelayMs: Summary;
  /** PATCH answered → handler called, for writes before, during and after a restart of API server and etcd. */
  readonly restartDelayMs: Summary;
  readonly restartProblems: number;
  readonly unseenAfterRestart: number;
}

const PAUSE_MS = 5;
const RESTART_PAUSE_MS = 20;
const BEFORE_RESTART_MS = 2_000;
const AFTER_RESTART_MS = 20_000;
const WRITE_LIMIT_MS = 300;
const SETTLE_MS = 5_000;

/** Memory, CPU and delay with many objects, and the delay over a restart of the API server. */
export async function measureLoad(
  context: BenchContext,
  objects: number,
  events: number,
  restarts: number,
): Promise<
  {
    objects: number;
    events: number;
    /** Each with other Runners to write to. */
    restarts: number;
    writesOverRestarts: number;
    /** Of each restart, until the API server was said to be ready. */
    outageMs: Summary;
  } & PerImplementation<Figures>
> {
  return await inScope(context, async (inner) => {
    const server = await startApiServer(inner, { durable: false });
    const { kubeconfigPath } = server.controlPlane;
    const subjects = {
      ours: new Subject('ours', kubeconfigPath),
      'client-node': new Subject('client-node', kubeconfigPath),
    };
    for (const subject of Object.values(subjects)) inner.onEnd(() => subject.end());
    const empty = await each(subjects, (subject) => subject.usage());
    inner.tell(`creating ${objects} Runners`);
    const names = await createRunners(server.client, objects);
    await each(subjects, (subject) => subject.follow());
    await each(subjects, (subject) => holdsAll(subject, objects));
    const full = await each(subjects, (subject) => subject.usage());
    inner.tell(`${events} events`);
    await each(subjects, (subject) => subject.take());
    const writes = await touchUntil(server.client, names, PAUSE_MS, (count) => count >= events);
    await delay(SETTLE_MS);
    const after = await each(subjects, (subject) => subject.usage());
    const seen = await each(subjects, (subject) => subject.take());
    const restart = await overRestarts(inner, server, names, restarts);
    const seenOverRestart = await each(subjects, (subject) => subject.take());
    const figuresOf = (which: Implementation): Figures => {
      const per = 10_000 / objects;
      const shown = withSeen(restart.writes, seenOverRestart[which].seen);
      return {
        heapMiBPer10000Runners: round((full[which].heapMiB - empty[which].heapMiB) * per),
        residentMiBPer10000Runners: round((full[which].residentMiB - empty[which].residentMiB) * per),
        cpuMsPer1000Events: round(((after[which].cpuMsBefore - full[which].cpuMsAfter) * 1000) / events),
        eventDelayMs: summarize(delays(writes, seen[which].seen, 'sentAt')),
        restartDelayMs: summarize(delays(shown, seenOverRestart[which].seen, 'answeredAt')),
        restartProblems: seenOverRestart[which].problems,
        unseenAfterRestart: restart.writes.length - shown.length,
      };
    };
    return {
      objects,
      events,
      restarts,
      writesOverRestarts: restart.writes.length,
      outageMs: summarize(restart.outagesMs),
      ours: figuresOf('ours'),
      'client-node': figuresOf('client-node'),
    };
  });
}

async function holdsAll(subject: Subject, objects: number): Promise<void> {
  while ((await subject.objects()) < objects) await delay(100);
}

/** One after the other, so that neither is measured while the other works. */
async function each<T>(
  subjects: PerImplementation<Subject>,
  work: (subject: Subject) => Promise<T>,
): Promise<PerImplementation<T>> {
  return { ours: await work(subjects.ours), 'client-node': await work(subjects['client-node']) };
}

/** Writes all the while; a Runner that is written to once is seen once, even by whoever lists anew. */
async function overRestarts(
  { onEnd, tell }: BenchContext,
  server: Awaited<ReturnType<typeof startApiServer>>,
  names: readonly string[],
  restarts: number,
): Promise<{ writes: Write[]; outagesMs: number[] }> {
  // Gives up fast and tries again: the first write comes as soon as the API server takes it.
  const { kubeconfigPath } = server.controlPlane;
  const eager = loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-bench/0', timeoutMs: WRITE_LIMIT_MS });
  onEnd(() => eager.close());
  const share = Math.floor(names.length / Math.max(1, restarts));
  const writes: Write[] = [];
  const outagesMs: number[] = [];
  let current = server.controlPlane;
  for (let index = 0; index < restarts; index += 1) {
    tell(`restarting the API server, ${index + 1} of ${restarts}`);
    let over = false;
    const own = names.slice(index * share, (index + 1) * share);
    const writing = touchUntil(eager, own, RESTART_PAUSE_MS, (count) => over || count >= own.length);
    await delay(BEFORE_RESTART_MS);
    const began = performance.now();
    await current.stop();
    const again = await restarted(current, server.dir, tell);
    onEnd(() => again.stop());
    current = again;
    outagesMs.push(performance.now() - began);
    await delay(AFTER_RESTART_MS);
    over = true;
    writes.push(...(await writing));
    await delay(SETTLE_MS);
  }
  return { writes, outagesMs };
}

const restarted = (before: ControlPlane, dir: string, log: (line: string) => void): Promise<ControlPlane> =>
  startControlPlane({
    dataDir: join(dir, 'data'),
    auditLog: join(dir, 'audit.log'),
    port: Number(new URL(before.server).port),
    unsafeNoFsync: true,
    log,
  });

const withSeen = (
  writes: readonly Write[],
  seen: readonly { name: string; resourceVersion: string }[],
): Write[] => {
  const keys = new Set(seen.map(({ name, resourceVersion }) => `${name} ${resourceVersion}`));
  return writes.filter(({ name, resourceVersion }) => keys.has(`${name} ${resourceVersion}`));
};
