import { spawn } from 'node:child_process';
import { MissingProgramError, TemplateBuildError } from './error.ts';

export interface RunOptions {
  readonly cwd?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/** More output than any of our programs has reason to make. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const STDERR_CHARACTERS = 4096;
const KILL_AFTER_MS = 5_000;

/**
 * Runs a program to its end and returns what it wrote. Rejects with a {@link TemplateBuildError} that carries its
 * last words where it fails, is not there or takes too long, and with the signal's reason where that aborts. The
 * program and all that it started are gone by then.
 */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<string> {
  options.signal.throwIfAborted();
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const end = endGroup(child.pid);
  const limit = AbortSignal.timeout(options.timeoutMs);
  const stop = AbortSignal.any([options.signal, limit]);
  stop.addEventListener('abort', end.ask, { once: true });
  process.once('exit', end.force);
  const chunks: Buffer[] = [];
  let size = 0;
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_OUTPUT_BYTES) chunks.push(chunk);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS);
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    options.signal.throwIfAborted();
    if (limit.aborted)
      throw new TemplateBuildError(`${file} was stopped after ${options.timeoutMs / 1000} s`);
    if (code !== 0) throw new TemplateBuildError(`${file} failed: ${lastWords(stderr)}`);
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw isMissing(error)
      ? new MissingProgramError(
          `${file} is not installed; on Debian: apt-get install ${PACKAGE_OF.get(file) ?? file}`,
        )
      : error;
  } finally {
    stop.removeEventListener('abort', end.ask);
    process.removeListener('exit', end.force);
    end.done();
  }
}

const PACKAGE_OF: ReadonlyMap<string, string> = new Map([
  ['apt-get', 'apt'],
  ['apt-cache', 'apt'],
  ['dpkg-deb', 'dpkg'],
  ['mke2fs', 'e2fsprogs'],
]);

/**
 * SIGINT first: fakeroot takes its daemon, which has left the process group, along on that signal only.
 */
function endGroup(pid: number | undefined): { ask(): void; force(): void; done(): void } {
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (pid !== undefined) process.kill(-pid, signal);
    } catch {
      // It has ended.
    }
  };
  let timer: NodeJS.Timeout | undefined;
  return {
    ask: () => {
      signalGroup('SIGINT');
      timer = setTimeout(() => signalGroup('SIGKILL'), KILL_AFTER_MS);
    },
    force: () => signalGroup('SIGINT'),
    done: () => clearTimeout(timer),
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT' && 'syscall' in error;
}

/** What a person needs of a program's complaints: the errors rather than the warnings, on one line. */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const errors = lines.filter((line) => /^(E:|.*[Ee]rror|.*[Uu]nable|.*[Nn]o space)/.test(line));
  return (errors.length > 0 ? errors : lines).slice(-2).join('; ').trim() || 'it said nothing';
}
