import { beforeEach, expect, test } from 'vitest';
import type { Host } from '../crds/host.ts';
import type { Runner } from '../crds/runner.ts';
import { condition } from '../test/builders/condition.ts';
import { linuxHost, macHost } from '../test/builders/host.ts';
import { runner } from '../test/builders/runner.ts';
import { stored } from '../test/builders/stored.ts';
import { ControllerMetrics } from './metrics.ts';

let hosts: Host[];
let runners: Runner[];
let lost: Set<string>;
let metrics: ControllerMetrics;
beforeEach(() => {
  hosts = [];
  runners = [];
  lost = new Set();
  metrics = new ControllerMetrics({
    hosts: () => hosts,
    runners: () => runners,
    isLost: (name) => lost.has(name),
    leads: () => true,
    waiting: () => 4,
  });
});

const lines = async (): Promise<string[]> => (await metrics.registry.metrics()).split('\n');

test('each host is counted in one state, and capacity is that of hosts that are online', async () => {
  lost.add('lost');
  hosts = [
    macHost(),
    linuxHost({ spec: { unschedulable: true, maxRunners: 5 } }),
    linuxHost({ status: { conditions: [condition('Ready', { status: 'False' })] } }),
    linuxHost({ status: undefined }),
    linuxHost({ metadata: { name: 'lost' } }),
  ];
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'shoesvz_agents_online 2',
      'shoesvz_agents_total{status="Ready"} 1',
      'shoesvz_agents_total{status="Cordoned"} 1',
      'shoesvz_agents_total{status="NotReady"} 1',
      'shoesvz_agents_total{status="Unknown"} 2',
      'shoesvz_capacity_total_runners 7',
      'shoesvz_runners_waiting 4',
    ]),
  );
});

test('states that are empty again are zero', async () => {
  runners = [runner({ status: { phase: 'Booting' } })];
  expect(await lines()).toContain('shoesvz_runners_total{phase="Booting"} 1');
  runners = [];
  expect(await lines()).toContain('shoesvz_runners_total{phase="Booting"} 0');
});

test('each part of a start is counted once per Runner', async () => {
  const at = (timings: NonNullable<Runner['status']>['timings']) =>
    stored(runner({ metadata: { name: 'r', uid: 'u1' }, status: { timings } }));
  metrics.startupSeen(at({ cloneMs: 50 }));
  metrics.startupSeen(at({ cloneMs: 50, bootToSshMs: 3_000 }));
  metrics.startupSeen(at(undefined));
  metrics.startupSeen(at({ cloneMs: 70, bootToSshMs: 4_000 }));
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'shoesvz_runner_startup_duration_sum{part="clone"} 0.05',
      'shoesvz_runner_startup_duration_count{part="clone"} 1',
      'shoesvz_runner_startup_duration_sum{part="boot_to_ssh"} 3',
    ]),
  );
});

test('what an earlier controller counted is not counted again', async () => {
  const before = stored(runner({ metadata: { uid: 'u1' }, status: { timings: { cloneMs: 50 } } }));
  metrics.startupSeenBefore(before);
  metrics.startupSeen(before);
  metrics.startupSeen(
    stored({ ...before, status: { ...before.status, timings: { cloneMs: 50, setupMs: 9 } } } as Runner),
  );
  const text = await metrics.registry.metrics();
  expect(text).not.toContain('part="clone"');
  expect(text).toContain('shoesvz_runner_startup_duration_count{part="setup"} 1');
});
