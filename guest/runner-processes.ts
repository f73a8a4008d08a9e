import { basename, dirname, resolve } from 'node:path';

/** A process that belongs to an Actions runner. */
export interface RunnerProcess {
  /**
   * `listen`: waits for jobs; `configure`: registers or removes the runner; `work`: runs a job; `wrapper`: the
   * runner's own scripts, which start the listener again after it updated itself.
   */
  readonly role: 'listen' | 'configure' | 'work' | 'wrapper';
  /** The directory of the runner, where that can be told. */
  readonly root?: string | undefined;
}

const LISTENER = 'Runner.Listener';
const WORKER = 'Runner.Worker';
/** What a script's process has in front of the script; `pgrep Runner.Listener` is not a listener. */
const INTERPRETER = /^-?((ba|da|z)?sh|busybox|node)$/;
const WRAPPERS = new Set(['run.sh', 'run-helper.sh', 'runsvc.sh', 'RunnerService.js']);

/**
 * What a process is to an Actions runner, by its arguments; undefined when it is nothing to it. `cwd` is
 * asked for only where the arguments look like one.
 */
export function runnerProcessOf(argv: readonly string[], cwd: () => string): RunnerProcess | undefined {
  const index = INTERPRETER.test(basename(argv[0] ?? '')) ? scriptIndex(argv) : 0;
  const arg = argv[index] ?? '';
  const name = basename(arg);
  if (name !== LISTENER && name !== WORKER && !WRAPPERS.has(name)) return undefined;
  const path = resolve(cwd(), arg);
  if (name === WORKER) return { role: 'work', root: dirname(dirname(path)) };
  if (name === LISTENER) {
    const verb = argv[index + 1];
    if (verb === 'warmup') return undefined;
    const role = verb === 'configure' || verb === 'remove' ? 'configure' : 'listen';
    return { role, root: dirname(dirname(path)) };
  }
  const directory = dirname(path);
  return { role: 'wrapper', root: basename(directory) === 'bin' ? dirname(directory) : directory };
}

/** Of an interpreter's arguments; -1 where it runs a command line (`sh -c`) or nothing. */
function scriptIndex(argv: readonly string[]): number {
  const index = argv.findIndex((arg, position) => position > 0 && !arg.startsWith('-'));
  const isCommandLine = argv.slice(1, index).some((option) => /^-[a-zA-Z]*c[a-zA-Z]*$/.test(option));
  return isCommandLine ? -1 : index;
}
