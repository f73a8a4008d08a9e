import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject } from 'vitest';
import { parse, stringify } from 'yaml';
import { runCommand } from '../harness/command.ts';
import { processesNaming } from '../harness/processes.ts';

const execute = promisify(execFile);

/** What no person should be shown: stacks, internal modules, object dumps. */
const INTERNALS = /\bat \S+ \(|file:\/\/|\.ts\b|node:|node_modules|\[object|this is a bug|undefined/;

/** What a wrong call is made of, in a directory that is gone afterwards. */
export class Scratch {
  readonly dir: string;
  readonly #undo: (() => Promise<unknown>)[] = [];

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async create(): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(tmpdir(), 'svz-')));
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  async file(name: string, content = ''): Promise<string> {
    const path = this.path(name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  }

  async directory(name: string): Promise<string> {
    const path = this.path(name);
    await mkdir(path, { recursive: true });
    return path;
  }

  /** The kubeconfig of the shared control plane, changed. */
  async kubeconfig(from: string, change: (config: Kubeconfig) => void): Promise<string> {
    const config = parse(from) as Kubeconfig;
    change(config);
    return await this.file(`kubeconfig-${Math.random().toString(36).slice(2)}`, stringify(config));
  }

  /** Takes a port, as another program would. */
  async takenPort(host = '127.0.0.1', port = 0): Promise<number> {
    const server: Server = createServer();
    await new Promise<void>((resolve) => server.listen({ host, port }, resolve));
    this.#undo.push(() => new Promise((resolve) => server.close(resolve)));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('not a TCP server');
    return address.port;
  }

  /** A filesystem of its own with little room; undefined where this process may not mount. */
  async smallVolume(name: string, options: string): Promise<string | undefined> {
    const path = await this.directory(name);
    try {
      await execute('mount', ['-t', 'tmpfs', '-o', options, 'shoes-vz-test', path]);
    } catch {
      return undefined;
    }
    this.#undo.push(() => execute('umount', [path]));
    return path;
  }

  onClose(step: () => Promise<unknown>): void {
    this.#undo.push(step);
  }

  async close(): Promise<void> {
    for (const step of this.#undo.reverse()) await step();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Permissions of a file or directory. */
  async mode(name: string): Promise<number> {
    return (await stat(this.path(name))).mode & 0o777;
  }

  /** All paths below the directory. */
  async tree(): Promise<string[]> {
    return (await readdir(this.dir, { recursive: true })).sort();
  }
}

/** As far as it is changed here. */
export interface Kubeconfig {
  'current-context'?: string;
  clusters: { name: string; cluster: { server: string; 'certificate-authority-data'?: string } }[];
  users: { name: string; user: Record<string, string> }[];
  contexts: { name: string; context: { cluster: string; user: string } }[];
}

/** The first, and in a kubeconfig of ours the only one. */
export function only<T>(list: readonly T[]): T {
  const [first] = list;
  if (first === undefined) throw new Error('the list is empty');
  return first;
}

export interface RefusalOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Default: 1. */
  readonly code?: number;
}

/**
 * Runs a command that must be refused, and returns its only line. Whatever the line, there is no other, and nothing
 * of the attempt is left: no process, no file.
 */
export async function refusal(
  scratch: Scratch,
  args: readonly string[],
  { env = {}, code = 1 }: RefusalOptions = {},
): Promise<string> {
  const before = await scratch.tree();
  const ended = await runCommand(args, env);
  const lines = ended.stderr.trimEnd().split('\n');
  expect(lines, ended.stdout).toHaveLength(1);
  const [line = ''] = lines;
  expect(line).toMatch(/^shoes-vz: \S/);
  expect(line).not.toMatch(INTERNALS);
  expect({ code: ended.code, signal: ended.signal }, line).toEqual({ code, signal: null });
  expect(await scratch.tree(), 'files').toEqual(before);
  expect(await processesNaming(scratch.dir), 'processes').toEqual([]);
  return line;
}

/** Paths of a kubeconfig of the shared control plane. */
export const sharedKubeconfig = (): string => inject('kubeconfig');
