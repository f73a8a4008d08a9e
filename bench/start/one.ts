import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { quorumReadsOf, writesAbout } from '../harness/audit.ts';
import { type Summary, summarize } from '../harness/statistics.ts';
import {
  type StartFigures,
  startFigures,
  startParts,
  type TurnFigures,
  turnFigures,
  turnParts,
} from './figures.ts';
import { measureHandshake } from './handshake.ts';
import type { Stage } from './stage.ts';

interface Cycle {
  readonly name: string;
  readonly start: StartFigures;
  readonly turn: TurnFigures;
  readonly parts: Readonly<Record<string, number>>;
  /** Epoch ms, to compare with the audit log. */
  readonly spawnedAt: number;
}

/** Starts one Runner after the other on a host that takes one, the next always waiting when one goes. */
export async function measureOneAtATime(
  stage: Stage,
  count: number,
  tell: (line: string) => void,
  prefix = 'one',
): Promise<object> {
  const cycles: Cycle[] = [];
  for (let index = 1; index <= count; index += 1) {
    const cycle = await runCycle(stage, `${prefix}-${index}`);
    cycles.push(cycle);
    tell(`one at a time, ${index} of ${count}: ${brief(cycle)}`);
  }
  return {
    ...summarizeEach(cycles.map(({ start }) => start)),
    ...summarizeEach(cycles.map(({ turn }) => turn)),
    parts: summarizeEach(cycles.map(({ parts }) => parts)),
    ...(await requestsPerRunner(stage, cycles)),
  };
}

async function runCycle(stage: Stage, name: string): Promise<Cycle> {
  const { world, moments } = stage;
  const epoch = Date.now() - performance.now();
  const postedAt = performance.now();
  const { metadata } = await world.create(name);
  const { uid } = metadata;
  await moments.seen(`${uid} ready`);
  // The guest has then finished starting: a handshake with a busy guest would be longer, and flatter us.
  await moments.seen(`${uid} agent up`);
  const runner = await world.client.resources<Runner>(RUNNERS).get({ namespace: 'default', name });
  if (runner === undefined) throw new Error(`${name} is gone`);
  const handshake = await measureHandshake(world.hostRoot, runner);
  const next = { name: `${name}-next`, uid: (await world.create(`${name}-next`)).metadata.uid };
  await moments.seen(`${next.uid} told`);
  const deletedAt = performance.now();
  await world.delete(name);
  const deletion = { sentAt: deletedAt, answeredAt: performance.now() };
  const nextBoundAt = await moments.seen(`${next.uid} bound`);
  await moments.seen(`${uid} gone`);
  await moments.seen(`${uid} ended`);
  await world.delete(next.name);
  await moments.seen(`${next.uid} gone`);
  return {
    name,
    start: startFigures(stage, uid, postedAt, handshake),
    turn: turnFigures(stage, uid, deletedAt, nextBoundAt),
    parts: { ...startParts(stage, name, uid, postedAt), ...turnParts(stage, { name, uid }, next, deletion) },
    spawnedAt: epoch + moments.at(`${uid} spawned`),
  };
}

/** Summaries by the name of the figure. */
export function summarizeEach<N extends string>(
  rows: readonly Readonly<Record<N, number>>[],
): Record<string, Summary> {
  const values: Record<string, number[]> = {};
  for (const row of rows) {
    for (const name in row) values[name] = [...(values[name] ?? []), row[name]];
  }
  return Object.fromEntries(Object.entries(values).map(([name, all]) => [name, summarize(all)]));
}

async function requestsPerRunner({ world }: Stage, cycles: readonly Cycle[]): Promise<object> {
  const events = await world.audit();
  const writes = cycles.map(({ name }) => writesAbout(name, events));
  const reads = cycles.map(({ name, spawnedAt }) => {
    const at = quorumReadsOf(name, events);
    return { all: at.length, beforeSpawn: at.filter((moment) => moment <= spawnedAt).length };
  });
  const byKind: Record<string, number> = {};
  for (const write of writes.flat()) byKind[write] = (byKind[write] ?? 0) + 1;
  const count = (isMeant: (write: string) => boolean) =>
    summarize(writes.map((all) => all.filter(isMeant).length));
  return {
    writesToRunner: count((write) => !isEvent(write)),
    eventsPerRunner: count(isEvent),
    writesByKind: Object.fromEntries(
      Object.entries(byKind).map(([kind, sum]) => [kind, sum / cycles.length]),
    ),
    quorumReadsPerRunner: summarize(reads.map(({ all }) => all)),
    quorumReadsBeforeSpawn: summarize(reads.map(({ beforeSpawn }) => beforeSpawn)),
  };
}

const isEvent = (write: string): boolean => write.endsWith(' events');

function brief({ start, turn }: Cycle): string {
  const ms = (value: number): string => `${Math.round(value)} ms`;
  return [
    `bind ${ms(start.bind)}`,
    `spawn ${ms(start.spawn)}`,
    `boot ${ms(start.boot)}`,
    `SSHReady ${ms(start.sshReady)} (handshake ${ms(start.handshake)})`,
    `turn ${ms(turn.turn)} (VM's end ${ms(turn.vmEnd)})`,
  ].join(', ');
}
