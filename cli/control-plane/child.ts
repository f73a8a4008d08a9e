import { spawn } from 'node:child_process';

/** The end of a program that ran to completion. */
export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  /** Last part of what it wrote to stderr. */
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly timeoutMs: number;
}

const KEPT_CHARACTERS = 16_384;

/**
 * Runs a program without stdin until it ends or its time is over, keeping the last 16 KiB of each output.
 * Rejects where it cannot be started or did not end in time.
 */
export function run(file: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-KEPT_CHARACTERS);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-KEPT_CHARACTERS);
    });
    const killWithUs = (): void => {
      child.kill('SIGKILL');
    };
    process.once('exit', killWithUs);
    child.once('error', (error) => {
      process.removeListener('exit', killWithUs);
      reject(error);
    });
    child.once('close', (code, signal) => {
      process.removeListener('exit', killWithUs);
      if (signal === 'SIGKILL') {
        reject(new Error(`${file} was killed after ${Math.round(options.timeoutMs / 1000)} s at most`));
      } else {
        resolve({ code, stdout, stderr });
      }
    });
  });
}
