import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { GuestPlatform } from './platform.ts';
import type { RunnerProcess } from './runner-processes.ts';
import type { RunnerTrack } from './runner-state.ts';
import { watchRunner } from './runner-watch.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'home-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

test('follows a runner from its configuration to its end', async () => {
  let processes: RunnerProcess[] = [];
  const platform = {
    runnerProcesses: async () => processes,
    runnerHomes: () => [home],
  } satisfies Partial<GuestPlatform> as unknown as GuestPlatform;
  const tracks: RunnerTrack[] = [];
  watchRunner(platform, (track) => void tracks.push(track));
  const root = join(home, 'actions-runner');
  const lastState = () => tracks.at(-1)?.state;

  await mkdir(root);
  await writeFile(join(root, '.runner'), '{"agentName":"runner-1"}');
  await vi.waitFor(() => expect(lastState()).toBe('Starting'), { timeout: 10_000 });
  processes = [{ role: 'listen', root }];
  await mkdir(join(root, '_diag'));
  await vi.waitFor(() => expect(lastState()).toBe('Idle'), { timeout: 10_000 });
  processes = [
    { role: 'listen', root },
    { role: 'work', root },
  ];
  await vi.waitFor(() => expect(lastState()).toBe('Running'), { timeout: 10_000 });
  processes = [];
  await vi.waitFor(() => expect(lastState()).toBe('Finished'), { timeout: 10_000 });
  expect(tracks.every(({ runnerName }) => runnerName === 'runner-1')).toBe(true);
}, 60_000);
