import { execFile } from 'node:child_process';

/** Runs one of the system's tools. Rejects where it fails or takes over 10 s. */
export type Command = (file: string, ...args: string[]) => Promise<string>;

const LIMIT_MS = 10_000;
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;

export const runCommand: Command = (file, ...args) =>
  new Promise((resolve, reject) => {
    const options = { timeout: LIMIT_MS, maxBuffer: MAX_OUTPUT_BYTES };
    execFile(file, args, options, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${file} failed (${error.code ?? error.signal})`));
    });
  });
