/**
 * The VM of a {@link ProcessDriver}, a process of its own: `node process-vm.ts <control socket> <options as JSON>`.
 * Stands in for the hypervisor and for the guest in it: listens where the guest's SSH server and agent would,
 * names its identity to whoever connects to the control socket, and runs at most one script, by /bin/sh. Every
 * message is one line of JSON.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { flushCompileCache } from 'node:module';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { GuestStatus } from '../../../guest/protocol.ts';
import type { ScriptState } from '../../ssh/script.ts';
import type { VmIdentity, VmRunState } from '../driver.ts';

/** What a VM is told on its command line. */
export interface ProcessVmOptions {
  readonly identity: VmIdentity;
  readonly mac: string;
  readonly ssh: { readonly host: string; readonly port: number };
  readonly agent: { readonly host: string; readonly port: number };
  /** A VM of a test run that has died ends by itself. */
  readonly leashPid: number;
}

export type ProcessVmRequest =
  | { readonly id: number; readonly verb: 'state' | 'stop' | 'kill' | 'observeScript' | 'outputTail' }
  /** Answered when no script runs. */
  | { readonly id: number; readonly verb: 'watchScript' }
  | { readonly id: number; readonly verb: 'startScript'; readonly script: string };

export type ProcessVmMessage =
  /** The first one of each connection. */
  | { readonly identity: VmIdentity }
  | { readonly id: number; readonly result: unknown }
  | { readonly state: VmRunState };

const OUTPUT_TAIL_BYTES = 4096;
const LEASH_CHECK_MS = 1_000;

class GuestScript {
  #state: ScriptState = { state: 'absent' };
  #output = '';
  #waiters: (() => void)[] = [];

  get state(): ScriptState {
    return this.#state;
  }

  get outputTail(): string {
    return this.#output;
  }

  start(script: string): 'started' | 'alreadyStarted' {
    if (this.#state.state !== 'absent') return 'alreadyStarted';
    const child: ChildProcess = spawn('/bin/sh', ['-s'], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#state = { state: 'running', pid: child.pid ?? 0 };
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_TAIL_BYTES);
      });
    }
    child.on('close', (code) => {
      this.#state = { state: 'exited', exitCode: code ?? 137 };
      for (const waiter of this.#waiters.splice(0)) waiter();
    });
    child.stdin?.end(script);
    return 'started';
  }

  async over(): Promise<ScriptState> {
    if (this.#state.state === 'running') {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
    return this.#state;
  }
}

const script = new GuestScript();

async function answer(request: ProcessVmRequest): Promise<unknown> {
  switch (request.verb) {
    case 'state':
      return 'running' satisfies VmRunState;
    case 'stop':
    case 'kill':
      setImmediate(() => process.exit(0));
      return null;
    case 'startScript':
      return script.start(request.script);
    case 'observeScript':
      return script.state;
    case 'watchScript':
      return await script.over();
    case 'outputTail':
      return script.outputTail;
  }
}

function serveControl(socket: Socket, identity: VmIdentity): void {
  const send = (message: ProcessVmMessage): void => void socket.write(`${JSON.stringify(message)}\n`);
  socket.on('error', () => socket.destroy());
  createInterface({ input: socket })
    .on('line', (line) => {
      const request: ProcessVmRequest = JSON.parse(line);
      void answer(request).then((result) => send({ id: request.id, result }));
    })
    .on('error', () => socket.destroy());
  send({ identity });
}

function serveStatus(socket: Socket, { identity, mac }: ProcessVmOptions): void {
  const status: GuestStatus = {
    version: '0',
    hostname: 'guest',
    uid: identity.uid,
    attempt: identity.attempt,
    bootId: String(process.pid),
    uptimeSeconds: Math.round(process.uptime()),
    mac,
    ip: '10.0.2.15',
    state: 'NoRunner',
  };
  socket.on('error', () => socket.destroy());
  socket.end(`${JSON.stringify(status)}\n`);
}

function endWith(line: string): never {
  process.stderr.write(`${line}\n`);
  process.exit(1);
}

async function listen(server: Server, where: { path: string } | { host: string; port: number }) {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...where, exclusive: true }, resolve);
  });
}

async function main(controlSocket: string, options: ProcessVmOptions): Promise<void> {
  const ssh = createServer((socket) => socket.end());
  const agent = createServer((socket) => serveStatus(socket, options));
  for (const [server, address] of [
    [ssh, options.ssh],
    [agent, options.agent],
  ] as const) {
    await listen(server, address).catch(() => endWith(`port taken: ${address.host}:${address.port}`));
  }
  const control = createServer((socket) => serveControl(socket, options.identity));
  await listen(control, { path: controlSocket }).catch((error: unknown) => endWith(String(error)));
  // Not left to its end, which is a SIGKILL.
  flushCompileCache();
  setInterval(() => {
    try {
      process.kill(options.leashPid, 0);
    } catch {
      process.kill(-process.pid, 'SIGKILL');
    }
  }, LEASH_CHECK_MS);
}

const [controlSocket, options] = process.argv.slice(2);
if (controlSocket === undefined || options === undefined) endWith('no control socket, no options');
await main(controlSocket, JSON.parse(options));
