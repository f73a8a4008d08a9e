import { describe, expect, test } from 'vitest';
import { runnerProcessOf } from './runner-processes.ts';

describe('runnerProcessOf', () => {
  test.each([
    [['/r/bin/Runner.Listener', 'run'], '/', { role: 'listen', root: '/r' }],
    [['./bin/Runner.Listener', 'run', '--jitconfig', 'x'], '/r', { role: 'listen', root: '/r' }],
    [['/r/bin/Runner.Listener'], '/', { role: 'listen', root: '/r' }],
    [['/r/bin/Runner.Listener', 'configure', '--url', 'u'], '/', { role: 'configure', root: '/r' }],
    [['/r/bin/Runner.Listener', 'remove'], '/', { role: 'configure', root: '/r' }],
    [['/r/bin/Runner.Listener', 'warmup'], '/', undefined],
    [['/r/bin/Runner.Worker', 'spawnclient', '1', '2'], '/', { role: 'work', root: '/r' }],
    [['/bin/bash', './run.sh'], '/r', { role: 'wrapper', root: '/r' }],
    [['/bin/bash', '-e', '/r/run-helper.sh'], '/', { role: 'wrapper', root: '/r' }],
    [['./externals/node24/bin/node', './bin/RunnerService.js'], '/r', { role: 'wrapper', root: '/r' }],
    [['/bin/sh', '/r/bin/Runner.Listener', 'run'], '/', { role: 'listen', root: '/r' }],
    [['pgrep', 'Runner.Listener'], '/', undefined],
    [['grep', '-r', 'Runner.Worker', '.'], '/', undefined],
    [['bash', '-c', 'cat > bin/Runner.Listener'], '/', undefined],
    [['bash', '-lc', './bin/Runner.Listener'], '/', undefined],
    [['bash', '-e', '-c', './run.sh'], '/', undefined],
    [['bash'], '/', undefined],
    [[''], '/', undefined],
    [[], '/', undefined],
  ])('%j in %s', (argv, cwd, expected) => {
    expect(runnerProcessOf(argv, () => cwd)).toEqual(expected);
  });

  test('asks for the working directory only where it matters', () => {
    const cwd = (): string => {
      throw new Error('asked');
    };
    expect(runnerProcessOf(['/usr/bin/sleep', '1'], cwd)).toBeUndefined();
  });
});
