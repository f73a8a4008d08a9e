import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { registerHostMetrics } from './metrics.ts';

test('the gauges tell what is so when they are asked', async () => {
  const registry = new Registry();
  let problem: string | undefined = 'the Lease is not held';
  registerHostMetrics(registry, {
    unready: () => problem,
    allocatable: () => ({ cpu: 8, memory: '3Gi', disk: '10Gi', runners: 4 }),
    volume: () => ({ totalBytes: 100, freeBytes: 42 }),
  });
  expect(await registry.metrics()).toContain('shoesvz_host_ready 0');
  problem = undefined;
  const text = await registry.metrics();
  for (const line of [
    'shoesvz_host_ready 1',
    'shoesvz_host_allocatable{resource="cpu"} 8',
    'shoesvz_host_allocatable{resource="memory"} 3221225472',
    'shoesvz_host_allocatable{resource="disk"} 10737418240',
    'shoesvz_host_allocatable{resource="runners"} 4',
    'shoesvz_host_volume_free_bytes 42',
  ]) {
    expect(text).toContain(`\n${line}\n`);
  }
});
