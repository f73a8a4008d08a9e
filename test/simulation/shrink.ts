import type { Plan, Step } from './plan.ts';
import { type Result, simulate } from './simulate.ts';
import { kindOf } from './tally.ts';

/**
 * The smallest plan found that breaks the same invariant: steps are left out, in halves, quarters and so on
 * (delta debugging), then hosts that nothing happens to.
 */
export async function shrink(plan: Plan, violation: string): Promise<Plan> {
  const breaks = async (candidate: Plan): Promise<boolean> =>
    kindOf((await simulate(candidate)).violation) === kindOf(violation);
  let smallest = plan;
  for (let parts = 2; smallest.steps.length > 0; ) {
    const smaller = await withoutOnePart(smallest, parts, breaks);
    if (smaller !== undefined) {
      smallest = smaller;
      parts = Math.max(2, parts - 1);
    } else if (parts >= smallest.steps.length) break;
    else parts = Math.min(smallest.steps.length, parts * 2);
  }
  for (const { name } of plan.hosts) {
    const fewer = { ...smallest, hosts: smallest.hosts.filter((host) => host.name !== name) };
    const isNamed = smallest.steps.some(({ deed }) => Object.values(deed).includes(name));
    if (!isNamed && fewer.hosts.length > 0 && (await breaks(fewer))) smallest = fewer;
  }
  return smallest;
}

async function withoutOnePart(
  plan: Plan,
  parts: number,
  breaks: (candidate: Plan) => Promise<boolean>,
): Promise<Plan | undefined> {
  const size = Math.ceil(plan.steps.length / parts);
  for (let start = 0; start < plan.steps.length; start += size) {
    const steps: Step[] = plan.steps.toSpliced(start, size);
    if (await breaks({ ...plan, steps })) return { ...plan, steps };
  }
  return undefined;
}

/** A run with everything written down. */
export const replay = (plan: Plan): Promise<Result> => simulate(plan, { keepsTrace: true });
