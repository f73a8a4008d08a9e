import type { RunnerWish } from './plan.ts';
import type { Random } from './random.ts';

/** A Runner as somebody may want it. */
export function makeWish(random: Random, hasMac: boolean): RunnerWish {
  const completion = random.pick(['Job', 'Script', 'Never'] as const);
  const job = { idleAfterMs: random.int(500, 5_000), busyAfterMs: random.int(500, 20_000) };
  const ms = random.int(200, 40_000) + job.idleAfterMs + job.busyAfterMs;
  const plan = {
    ms,
    exitCode: random.chance(0.8) ? 0 : random.int(1, 127),
    ...(completion === 'Job' || random.chance(0.2) ? { job } : {}),
    fromSecret: random.chance(0.5),
  };
  return {
    spec: {
      templateName: hasMac && random.chance(0.4) ? 'macos' : 'linux',
      completion,
      startAttempts: random.int(1, 4),
      ...(random.chance(0.1) ? { activeDeadlineSeconds: random.int(5, 90) } : {}),
      ...(random.chance(0.15) ? { ttlSecondsAfterFinished: random.int(0, 60) } : {}),
      ...(random.chance(0.3) ? { className: random.pick(['small', 'large']) } : {}),
      timeouts: { clone: '40s', boot: '60s', setup: '90s' },
    },
    ...(completion === 'Never' && random.chance(0.4) ? {} : { script: plan }),
  };
}
