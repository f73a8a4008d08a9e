import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';

/** Goes on for ever once it was asked to stop, as a stop that hangs does. */
const STUBBORN = `
  const { listenForStop } = await import(${JSON.stringify(new URL('lifetime.ts', import.meta.url).href)});
  const stop = listenForStop();
  stop.interrupted.catch((error) => console.log('interrupted', error.message));
  stop.asked.then((signal) => console.log('asked', signal, stop.signal.aborted, stop.signal.reason.message));
  setInterval(() => undefined, 1000);
  console.log('listening');
`;

let child: ChildProcess;
let lines: Interface;
beforeEach(async () => {
  child = spawn(process.execPath, ['--input-type=module', '-e', STUBBORN], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (child.stdout === null) throw new Error('the child has no output');
  lines = createInterface(child.stdout);
  expect(await once(lines, 'line')).toEqual(['listening']);
});
afterEach(() => child.kill('SIGKILL'));

/** Sends a signal and returns the next `count` lines. */
async function answer(signal: NodeJS.Signals, count: number): Promise<string[]> {
  const seen: string[] = [];
  const heard = new Promise<string[]>((resolve) => {
    lines.on('line', (line) => {
      if (seen.push(line) === count) resolve(seen.toSorted());
    });
  });
  child.kill(signal);
  return await heard;
}

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s asks, and a second signal ends it',
  async (signal) => {
    expect(await answer(signal, 2)).toEqual([
      `asked ${signal} true stopped by ${signal}`,
      `interrupted stopped by ${signal}`,
    ]);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([143, null]);
  },
);

test('a terminal that hangs up a second time does not cut the stop short', async () => {
  await answer('SIGHUP', 2);
  const ended = once(child, 'exit');
  child.kill('SIGHUP');
  child.kill('SIGINT');
  expect(await ended).toEqual([130, null]);
});
