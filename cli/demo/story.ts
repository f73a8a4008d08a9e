import type { Runner, RunnerStatus } from '../../crds/runner.ts';

/** What `demo --json` ends with, in one line. */
export interface DemoReport {
  readonly runner: string;
  readonly host: string;
  readonly driver: string;
  readonly accelerator: string;
  /** As the watch showed them; brief phases are never written. */
  readonly phases: readonly string[];
  readonly timings: NonNullable<RunnerStatus['timings']>;
  readonly setup: { readonly exitCode: number | undefined; readonly output: string | undefined };
}

/** Follows one Runner's objects and tells what changed between them. */
export class Story {
  readonly phases: string[] = [];
  readonly #tell: (line: string) => void;
  #last: Runner | undefined;

  constructor(tell: (line: string) => void) {
    this.#tell = tell;
  }

  see(runner: Runner): void {
    const phase = runner.status?.phase ?? 'Pending';
    const before = this.#last;
    this.#last = runner;
    if (before === undefined || (before.status?.phase ?? 'Pending') !== phase) {
      this.phases.push(phase);
      this.#tell(sentence(phase, runner));
    }
    if (before?.spec.binding === undefined && runner.spec.binding !== undefined) {
      const { hostName, resources } = runner.spec.binding;
      this.#tell(
        `bound       to host ${hostName}: ${resources.cpu} CPU, ${resources.memory} memory, ${resources.disk} disk`,
      );
    }
  }
}

function sentence(phase: string, { status, metadata }: Runner): string {
  const timings = status?.timings;
  switch (phase) {
    case 'Pending':
      return `declared    Runner ${metadata.name}`;
    case 'Booting':
      return `booting     the clone of the template took ${timings?.cloneMs ?? '?'} ms`;
    case 'SSHReady':
      return `SSH-ready   ${timings?.bootToSshMs ?? '?'} ms after the VM's start, on ${status?.ssh?.host}:${status?.ssh?.port}`;
    case 'Running':
      return 'running     the setup script was started';
    case 'TearingDown':
      return 'burning     VM and bundle';
    default:
      return `${phase.toLowerCase().padEnd(11)} ${status?.conditions?.find(({ type }) => type === 'Stalled')?.message ?? ''}`;
  }
}
