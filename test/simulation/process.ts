import { type Boundary, Life, type MachineClock } from './life.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';
import type { Trace } from './trace.ts';

/** How a program runs in one life. */
export interface Program {
  /** Rejects when the program ends by itself. */
  readonly failed?: Promise<never> | undefined;
  /** Ends it in order. */
  stop(): Promise<void>;
}

export interface ProcessOptions {
  readonly name: string;
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly random: Random;
  readonly machine: MachineClock;
  /** Resolves when the program serves; rejects where it gives up. */
  readonly start: (life: Life) => Promise<Program>;
  /** Told of errors that are no expected ones. */
  readonly onBug: (error: unknown) => void;
  readonly isExpected: (error: unknown) => boolean;
}

/** How long a supervisor waits before it starts a program again that gave up. */
const RESTART_MS = { least: 1_000, most: 5_000 } as const;

/** A program and its supervisor, as systemd is one: it is started again whenever it ends, as long as it is wanted. */
export class Process {
  readonly name: string;
  /** Boundaries that were passed in all lives, by their names. */
  readonly passed = new Map<string, number>();
  /** Those at which it died. */
  readonly diedAt: string[] = [];
  readonly #options: ProcessOptions;
  #life: Life | undefined;
  #program: Program | undefined;
  #lives = 0;
  #wanted = false;
  /** Boundaries that are still passed before it dies. */
  #doom: number | undefined;
  #downMs = 0;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.name = options.name;
  }

  get life(): Life | undefined {
    return this.#life?.isDead ? undefined : this.#life;
  }

  /** Keeps it running from now on. */
  run(): void {
    this.#wanted = true;
    if (this.life === undefined) this.#start();
  }

  /** Ends it at once, as kill -9 or a loss of power does, until {@link run}. */
  kill(): void {
    this.#wanted = false;
    this.#life?.die();
    this.#life = undefined;
    this.#program = undefined;
    this.#doom = undefined;
  }

  /** Dies at a boundary of an effect that is yet to come, and is started again after a while. */
  killAt(boundariesFromNow: number, downMs: number): void {
    this.#doom = boundariesFromNow;
    this.#downMs = downMs;
  }

  /** Lets no death come any more that has not come yet. */
  spare(): void {
    this.#doom = undefined;
  }

  /** Ends it in order and starts it again. */
  restart(): void {
    const { life } = this;
    const program = this.#program;
    if (life === undefined || program === undefined) return;
    this.#options.trace.add(this.name, 'is stopped in order');
    program.stop().then(
      () => this.#ended(life, 0),
      (error: unknown) => {
        if (!this.#options.isExpected(error)) this.#options.onBug(error);
        this.#ended(life, 0);
      },
    );
  }

  #start(): void {
    const { timeline, trace, random, machine } = this.#options;
    this.#lives += 1;
    const life = new Life({
      name: this.name,
      number: this.#lives,
      timeline,
      random: random.stream(`life ${this.#lives}`),
      machine,
      diesAt: (boundary) => this.#diesAt(boundary),
    });
    this.#life = life;
    this.#program = undefined;
    trace.add(this.name, 'starts');
    life.onDeath(() => {
      if (this.#life === life && this.#wanted) this.#ended(life, this.#downMs);
    });
    this.#options.start(life).then(
      (program) => {
        if (this.#life === life) this.#program = program;
        program.failed?.catch((error: unknown) => this.#givesUp(life, error));
      },
      (error: unknown) => this.#givesUp(life, error),
    );
  }

  #givesUp(life: Life, error: unknown): void {
    if (life.isDead) return;
    const { trace, random, onBug, isExpected } = this.#options;
    if (!isExpected(error)) onBug(error);
    trace.add(this.name, `gives up: ${error instanceof Error ? error.message : String(error)}`);
    this.#ended(life, random.int(RESTART_MS.least, RESTART_MS.most));
  }

  #ended(life: Life, downMs: number): void {
    if (this.#life !== life) return;
    this.#life = undefined;
    this.#program = undefined;
    life.die();
    this.#options.timeline.after(downMs, () => {
      if (this.#wanted && this.life === undefined) this.#start();
    });
  }

  #diesAt({ effect, when }: Boundary): boolean {
    const name = `${when} ${effect}`;
    this.passed.set(name, (this.passed.get(name) ?? 0) + 1);
    if (this.#doom === undefined) return false;
    if (this.#doom > 0) {
      this.#doom -= 1;
      return false;
    }
    this.#doom = undefined;
    this.diedAt.push(name);
    this.#options.trace.add(this.name, `dies ${when} "${effect}"`);
    return true;
  }
}
