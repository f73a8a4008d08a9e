/** What a setup script of the simulation does, as its text says on one line. */
export interface ScriptPlan {
  /** How long it runs. */
  readonly ms: number;
  readonly exitCode: number;
  /** It becomes an Actions runner that takes one job: idle after so long, at work after so long. */
  readonly job?: { readonly idleAfterMs: number; readonly busyAfterMs: number } | undefined;
}

const PLAN = '# plan: ';

/** A script that does what the plan says; `secret` is what must not be told to anybody. */
export const scriptOf = (plan: ScriptPlan, secret = ''): string =>
  `#!/bin/sh\n${PLAN}${JSON.stringify(plan)}\nexport TOKEN=${secret}\n`;

export function planOf(script: string): ScriptPlan {
  const line = script.split('\n').find((one) => one.startsWith(PLAN));
  if (line === undefined) throw new Error('not a script of the simulation');
  return JSON.parse(line.slice(PLAN.length)) as ScriptPlan;
}
