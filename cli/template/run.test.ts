import { expect, test } from 'vitest';
import { run } from './run.ts';

const signal = new AbortController().signal;
const options = { signal, timeoutMs: 30_000 };

test('returns what the program wrote', async () => {
  expect(
    await run('sh', ['-c', 'echo $GREETING; echo noise >&2'], { ...options, env: { GREETING: 'hello' } }),
  ).toBe('hello\n');
});

test('says which package brings a program that is not there', async () => {
  await expect(run('no-such-program', [], options)).rejects.toThrow(
    'no-such-program is not installed; on Debian: apt-get install no-such-program',
  );
});

test('repeats the errors of a program that failed, in one line', async () => {
  const script = 'echo "W: never mind" >&2; echo "E: Unable to locate package x" >&2; exit 100';
  await expect(run('sh', ['-c', script], options)).rejects.toMatchObject({
    name: 'TemplateBuildError',
    message: 'sh failed: E: Unable to locate package x',
  });
});

test('ends a program that takes too long', async () => {
  await expect(run('sleep', ['60'], { signal, timeoutMs: 50 })).rejects.toThrow(
    'sleep was stopped after 0.05 s',
  );
});

test('ends the program and all that it started when it is aborted', async () => {
  const controller = new AbortController();
  const running = run('sh', ['-c', 'sleep 60 & sleep 60 | cat'], { ...options, signal: controller.signal });
  controller.abort(new Error('stopped by the user'));
  await expect(running).rejects.toThrow('stopped by the user');
}, 30_000);
