import { readFile } from 'node:fs/promises';
import { Pool } from 'undici';
import { bundlePaths } from '../node-daemon/vm/bundle.ts';
import { readMetadata } from '../node-daemon/vm/metadata.ts';
import { numberFlags } from './harness/flags.ts';
import { type BenchContext, runBenchmark } from './harness/run.ts';
import { type Summary, summarize } from './harness/statistics.ts';
import { startWorld } from './harness/world.ts';
import { startStage } from './start/stage.ts';

interface HttpFigures {
  readonly path: string;
  readonly connections: number;
  readonly keepAlive: boolean;
  readonly requestsPerSecond: number;
  readonly latency: Summary;
}

const VARIANTS = [
  { connections: 1, keepAlive: true },
  { connections: 8, keepAlive: true },
  { connections: 1, keepAlive: false },
] as const;

async function measure(context: BenchContext): Promise<object> {
  const { seconds } = numberFlags({ seconds: 10 });
  const world = await startWorld(context);
  const stage = await startStage(context, world, 1);
  const { metadata } = await world.create('http');
  await stage.moments.seen(`${metadata.uid} agent up`);
  await stage.moments.seen(`${metadata.uid} ready`);
  const paths = bundlePaths(world.hostRoot, metadata.uid, 1);
  const read = await readMetadata(paths.metadata);
  const agent = read.state === 'present' ? read.metadata.prepared?.endpoints.agent : undefined;
  if (agent === undefined) throw new Error('the bundle does not tell where the agent listens');
  const origin = `http://${agent.host}:${agent.port}`;
  const authorization = `Bearer ${(await readFile(paths.guestToken, 'utf8')).trim()}`;
  const figures: HttpFigures[] = [];
  for (const path of ['/health', '/status']) {
    for (const variant of VARIANTS) {
      figures.push(await measurePath(origin, path, authorization, variant, seconds * 1000));
      context.tell(`${path}: ${JSON.stringify(figures.at(-1))}`);
    }
  }
  return { accelerator: stage.accelerator, unit: 'ms', figures };
}

async function measurePath(
  origin: string,
  path: string,
  authorization: string,
  { connections, keepAlive }: (typeof VARIANTS)[number],
  forMs: number,
): Promise<HttpFigures> {
  const pool = new Pool(origin, { connections, pipelining: keepAlive ? 1 : 0 });
  const latencies: number[] = [];
  const began = performance.now();
  const ask = async (): Promise<void> => {
    while (performance.now() - began < forMs) {
      const asked = performance.now();
      const answer = await pool.request({ path, method: 'GET', headers: { authorization } });
      await answer.body.dump();
      if (answer.statusCode !== 200) throw new Error(`${path} answered ${answer.statusCode}`);
      latencies.push(performance.now() - asked);
    }
  };
  try {
    await Promise.all(Array.from({ length: connections }, ask));
    const seconds = (performance.now() - began) / 1000;
    const requestsPerSecond = Math.round(latencies.length / seconds);
    return { path, connections, keepAlive, requestsPerSecond, latency: summarize(latencies) };
  } finally {
    await pool.destroy();
  }
}

/**
 * The guest agent's HTTP, through the port that the host forwards: `npm run bench:guest-http -- [--seconds N]`.
 * Each path with 1 and with 8 connections that stay open, and with a connection per request, as the node daemon
 * asks.
 */
await runBenchmark('guest-http', measure);
