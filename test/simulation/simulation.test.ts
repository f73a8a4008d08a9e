import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const execute = promisify(execFile);
const RUN = fileURLToPath(new URL('./run.ts', import.meta.url));

/** In a process of its own: a simulation takes the clock away from everybody in its process. */
async function simulation(...args: string[]): Promise<string> {
  const done = await execute(process.execPath, [RUN, ...args], { maxBuffer: 2 ** 26 }).catch(
    (error: { stdout: string; stderr: string }) => error,
  );
  return done.stdout + done.stderr;
}

describe('the simulated system', () => {
  test('keeps its promises, whatever befalls it', async () => {
    expect(await simulation('--seeds', '300', '--workers', '2')).toBe('300 seeds, 0 failed\n');
  }, 600_000);

  test('does the same again with the same seed', async () => {
    const once = await simulation('--seed', '7', '--story');
    expect(once).toContain('all invariants held');
    expect(await simulation('--seed', '7', '--story')).toBe(once);
  }, 120_000);
});
