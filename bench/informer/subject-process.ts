import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Answer, Seen, Task } from './messages.ts';

export type Implementation = 'ours' | 'client-node';

export type Usage = Required<Pick<Answer, 'heapMiB' | 'residentMiB' | 'cpuMsBefore' | 'cpuMsAfter'>>;

const SUBJECT = join(import.meta.dirname, 'subject.ts');
const ANSWER_LIMIT_MS = 120_000;

/** One implementation of an informer in a process of its own. One question at a time. */
export class Subject {
  readonly implementation: Implementation;
  readonly #child: ChildProcess;

  constructor(implementation: Implementation, kubeconfig: string) {
    this.implementation = implementation;
    this.#child = fork(SUBJECT, {
      execArgv: ['--expose-gc'],
      env: { ...process.env, KUBECONFIG: kubeconfig, IMPLEMENTATION: implementation },
    });
  }

  async follow(namespaces?: readonly string[]): Promise<void> {
    await this.#ask({ do: 'follow', namespaces });
  }

  async objects(): Promise<number> {
    return (await this.#ask({ do: 'count' })).objects ?? 0;
  }

  /** Memory after a garbage collection; CPU time used so far, without and with it. */
  async usage(): Promise<Usage> {
    const {
      heapMiB = 0,
      residentMiB = 0,
      cpuMsBefore = 0,
      cpuMsAfter = 0,
    } = await this.#ask({ do: 'usage' });
    return { heapMiB, residentMiB, cpuMsBefore, cpuMsAfter };
  }

  /** What was seen, and how often something failed, since this was asked last. */
  async take(): Promise<{ seen: readonly Seen[]; problems: number }> {
    const { seen = [], problems = 0 } = await this.#ask({ do: 'take' });
    return { seen, problems };
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #ask(task: Task): Promise<Answer> {
    const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const answered = once(this.#child, 'message', { signal });
    this.#child.send(task);
    const [answer] = (await answered) as [Answer];
    if (answer.error !== undefined) throw new Error(`${this.implementation}: ${answer.error}`);
    return answer;
  }
}
