import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Runner } from '../crds/runner.ts';
import { systemClock } from '../kube/clock.ts';
import type { Logger } from '../kube/log.ts';
import { linuxHost } from '../test/builders/host.ts';
import type { Overrides } from '../test/builders/overrides.ts';
import { boundRunner } from '../test/builders/runner.ts';
import { runnerState, StateFile } from './state-file.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'svz-state-'));
});
afterEach(() => rm(dir, { recursive: true }));

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} };

const host = linuxHost({ metadata: { name: 'mac-1', uid: 'host-uid' } });

const runner = (uid: string, status: Overrides<Runner['status']>, attempt = 1): Runner =>
  boundRunner(host, {
    metadata: { name: `r-${uid}`, namespace: 'ci', uid },
    spec: { binding: { attempt } },
    status,
  });

const failed = {
  attempt: 1,
  hostName: 'mac-1',
  reason: 'CloneFailed',
  message: 'no room',
  finishedAt: '2026-01-01T00:00:00Z',
};

test('tells of the Runners that have a VM, in an order of its own', () => {
  const ssh = { host: '127.65.0.1', port: 2222, user: 'runner', hostKey: 'ssh-ed25519 AAAA' };
  const state = runnerState('mac-1', [
    runner('b', { phase: 'SSHReady', observedGeneration: 1, attempt: 1, ipAddress: '10.0.2.15', ssh }),
    runner('a', { phase: 'Booting', observedGeneration: 1, attempt: 1 }),
    runner('c', { phase: 'Finished', observedGeneration: 1, attempt: 1 }),
    runner('d', { phase: 'Pending', observedGeneration: -1 }),
    runner('e', { phase: 'Pending', attempt: 1 }, 2),
    runner('f', { phase: 'Pending', attempt: 1, attempts: [failed] }),
  ]);
  expect(state.runners.map(({ uid, phase }) => [uid, phase])).toEqual([
    ['a', 'Booting'],
    ['b', 'SSHReady'],
  ]);
  expect(state.runners[1]).toMatchObject({
    name: 'r-b',
    ip: '10.0.2.15',
    ssh: { host: '127.65.0.1', port: 2222, user: 'runner' },
  });
  expect(state.runners[1]?.ssh).not.toHaveProperty('hostKey');
});

test('the file holds the last state when it stops, in a directory that it makes', async () => {
  const path = join(dir, 'run', 'runner-state.json');
  let name = 'first';
  const file = new StateFile({ path, clock: systemClock, log: quiet, state: () => runnerState(name, []) });
  file.changed();
  name = 'last';
  await file.stop();
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ version: 1, host: 'last', runners: [] });
});

test('what a daemon that was killed had half written is taken over', async () => {
  const path = join(dir, 'runner-state.json');
  await writeFile(`${path}.tmp`, '{"version": 1, "ho');
  const state = () => runnerState('h', []);
  await new StateFile({ path, clock: systemClock, log: quiet, state }).stop();
  expect(await readdir(dir)).toEqual(['runner-state.json']);
});

test('a path that cannot be written is told and harms nothing', async () => {
  const warnings: string[] = [];
  const log: Logger = { ...quiet, warn: (_, message) => void warnings.push(message) };
  await writeFile(join(dir, 'file'), '');
  const path = join(dir, 'file', 'runner-state.json');
  await new StateFile({ path, clock: systemClock, log, state: () => runnerState('h', []) }).stop();
  expect(warnings).toEqual(['cannot write the runner state file']);
});
