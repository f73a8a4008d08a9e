import { calm, carryOut } from './deeds.ts';
import { Guard } from './guard.ts';
import { NAMESPACE, USER } from './names.ts';
import { CALM_AT_MS, type Plan } from './plan.ts';
import type { Process } from './process.ts';
import { Random } from './random.ts';
import { unrestOf } from './rest.ts';
import type { TraceLine } from './trace.ts';
import { World } from './world.ts';

export interface Result {
  readonly seed: number;
  /** What was broken first; undefined: nothing. */
  readonly violation: string | undefined;
  readonly hash: string;
  readonly simulatedMs: number;
  readonly steps: number;
  /** Boundaries of effects that were passed, and those at which a process died: `node daemon before start the VM`. */
  readonly passed: ReadonlyMap<string, number>;
  readonly diedAt: readonly string[];
  /** Writes that the API server stored. */
  readonly writes: number;
  /** From when all was mended until all was at rest. */
  readonly recoveryMs: number | undefined;
  readonly lines: readonly TraceLine[];
}

/** How long nothing may be written until the system counts as at rest. */
const QUIET_MS = 30_000;
/** How long it may take to come to rest. */
const PATIENCE_MS = 30 * 60_000;
/** A run of more steps than this does not come to rest: something goes round and round. */
const MOST_STEPS = 400_000;

/** Lives a plan through, from the first start to the end of the last Runner. The same plan gives the same result. */
export async function simulate(plan: Plan, options: { keepsTrace?: boolean } = {}): Promise<Result> {
  const guard = new Guard(new Random(plan.seed).stream('Math.random'));
  const { keepsTrace = false } = options;
  guard.up({ stacks: keepsTrace });
  try {
    return await new Simulation(plan, keepsTrace, guard).live();
  } finally {
    guard.down();
  }
}

class Simulation {
  readonly #plan: Plan;
  readonly #world: World;
  readonly #guard: Guard;
  #lastWriteAt = 0;
  #writes = 0;
  #recoveryMs: number | undefined;

  constructor(plan: Plan, keepsTrace: boolean, guard: Guard) {
    this.#plan = plan;
    this.#guard = guard;
    this.#world = new World(plan, keepsTrace);
    this.#world.server.observers.add(({ kind, by }) => {
      this.#writes += 1;
      if (kind.kind !== 'Lease' && by !== USER) this.#lastWriteAt = this.#world.timeline.now;
    });
  }

  async live(): Promise<Result> {
    const { timeline } = this.#world;
    for (const { at, deed } of this.#plan.steps) timeline.at(at, () => carryOut(this.#world, deed));
    await this.#until(CALM_AT_MS);
    calm(this.#world);
    const calmedAt = timeline.now;
    await this.#rest('after all was mended');
    this.#recoveryMs = this.#lastWriteAt - calmedAt;
    this.#burn();
    await this.#rest('after all Runners were deleted');
    return this.#result();
  }

  #burn(): void {
    const { server, trace } = this.#world;
    if (this.#isOver()) return;
    trace.add('PLAN', 'all Runners are deleted');
    for (const { metadata } of server.list('Runner')) {
      server.delete(USER, 'Runner', { namespace: NAMESPACE, name: metadata.name });
    }
  }

  /** Waits until nothing was written for a while and nothing is left to wait for. */
  async #rest(when: string): Promise<void> {
    const { timeline, invariants } = this.#world;
    const deadline = timeline.now + PATIENCE_MS;
    let looksAt = timeline.now + QUIET_MS;
    while (!this.#isOver()) {
      await this.#until(looksAt);
      const quietAt = this.#lastWriteAt + QUIET_MS;
      if (quietAt > timeline.now) looksAt = quietAt;
      else {
        const unrest = unrestOf(this.#world);
        if (unrest.length === 0) return;
        looksAt = timeline.now + QUIET_MS;
        if (looksAt > deadline) invariants.violated(`7: no rest ${when}: ${unrest.join('; ')}`);
      }
      if (timeline.now > deadline) invariants.violated(`7: it goes on writing ${when}`);
    }
  }

  async #until(ms: number): Promise<void> {
    const { timeline } = this.#world;
    let reached = timeline.now >= ms;
    if (reached || this.#isOver()) return;
    timeline.at(ms, () => {
      reached = true;
    });
    await timeline.run(() => reached || this.#isOver());
  }

  #isOver(): boolean {
    const { timeline, invariants } = this.#world;
    for (const error of this.#guard.takeErrors()) this.#world.bug(error);
    if (timeline.steps > MOST_STEPS && invariants.violations.length === 0) {
      invariants.violated(`7: more than ${MOST_STEPS} steps`);
    }
    return invariants.violations.length > 0;
  }

  #result(): Result {
    const { timeline, trace, processes, invariants } = this.#world;
    return {
      seed: this.#plan.seed,
      violation: invariants.violations[0],
      hash: trace.hash,
      simulatedMs: timeline.now,
      steps: timeline.steps,
      ...crashPointsOf([...processes.values()]),
      writes: this.#writes,
      recoveryMs: this.#recoveryMs,
      lines: trace.lines,
    };
  }
}

function crashPointsOf(processes: readonly Process[]): Pick<Result, 'passed' | 'diedAt'> {
  const passed = new Map<string, number>();
  const diedAt: string[] = [];
  for (const process of processes) {
    const program = process.name.startsWith('controller') ? 'controller' : 'node daemon';
    for (const [name, times] of process.passed) {
      const full = `${program} ${name}`;
      passed.set(full, (passed.get(full) ?? 0) + times);
    }
    diedAt.push(...process.diedAt.map((name) => `${program} ${name}`));
  }
  return { passed, diedAt };
}
