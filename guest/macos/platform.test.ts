import { expect, test } from 'vitest';
import { macosPlatform, parseProcesses } from './platform.ts';

test('finds the processes of a runner in what ps lists', () => {
  const ps = `/sbin/launchd
/Users/runner/actions-runner/bin/Runner.Listener run --startuptype service
/Users/runner/actions-runner/bin/Runner.Worker spawnclient 120 123
/bin/bash /Users/runner/actions-runner/run.sh
-zsh
`;
  const root = '/Users/runner/actions-runner';
  expect(parseProcesses(ps)).toEqual([
    { role: 'listen', root },
    { role: 'work', root },
    { role: 'wrapper', root },
  ]);
});

test('reads the seed from the raw device, which is not cached', async () => {
  const answers: Record<string, string> = {
    '/usr/sbin/sysctl': 'BOOT-1\n',
    '/usr/sbin/ioreg': '+-o D\n  "Serial Number" = "shoesvz-seed"\n  "BSD Name" = "disk4"\n',
  };
  const platform = await macosPlatform(async (file) => answers[file] ?? '');
  expect(platform.bootId()).toBe('BOOT-1');
  expect(await platform.findDisk('shoesvz-seed')).toBe('/dev/rdisk4');
  expect(await platform.findDisk('other')).toBeUndefined();
});
