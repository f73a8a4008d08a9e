import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';

/** What one kubectl command came to. */
export interface KubectlResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A kubectl of the shared control plane, with a discovery cache of its own. */
export interface Kubectl {
  run(args: readonly string[], stdin?: string): Promise<KubectlResult>;
  /** Resolves with the output; rejects with kubectl's own words where it fails. */
  ok(args: readonly string[], stdin?: string): Promise<string>;
  close(): Promise<void>;
}

const TIMEOUT_MS = 30_000;

export async function openKubectl(): Promise<Kubectl> {
  const cache = await mkdtemp(join(tmpdir(), 'kubectl-'));
  const env = { ...process.env, KUBECONFIG: inject('kubeconfig'), KUBECACHEDIR: cache };
  const run = (args: readonly string[], stdin = ''): Promise<KubectlResult> =>
    new Promise((resolve, reject) => {
      const child = execFile(
        inject('kubectl'),
        args,
        { env, timeout: TIMEOUT_MS },
        (error, stdout, stderr) => {
          if (error !== null && typeof error.code !== 'number') reject(error);
          else resolve({ exitCode: Number(error?.code ?? 0), stdout, stderr });
        },
      );
      // kubectl may end before it has read all of its input.
      child.stdin?.on('error', () => {});
      child.stdin?.end(stdin);
    });
  return {
    run,
    ok: async (args, stdin) => {
      const { exitCode, stdout, stderr } = await run(args, stdin);
      if (exitCode !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    },
    close: () => rm(cache, { recursive: true, force: true }),
  };
}
