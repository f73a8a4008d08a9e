import { randomUUID } from 'node:crypto';
import { ExplainedError } from '../../kube/explained-error.ts';
import type { ExecResult } from './exec.ts';
import { guestCommand } from './guest-command.ts';
import { interpreterOf } from './interpreter.ts';
import { cutTail } from './output-tail.ts';
import { KILL, OBSERVE, START, SUPERVISE, TAIL } from './script-programs.ts';
import type { SshSession } from './session.ts';

/** What the guest tells of the setup script. See script-programs.ts for how it comes to know. */
export type ScriptState =
  /** No trace of it. */
  | { readonly state: 'absent' }
  /** An upload was begun; nothing of the script was ever run. It may be started again. */
  | { readonly state: 'incomplete' }
  /** `pid` leads the script's process group. */
  | { readonly state: 'running'; readonly pid: number }
  /** As a shell has it: 126 cannot be executed, 127 not found, 128 + n ended by signal n. */
  | { readonly state: 'exited'; readonly exitCode: number }
  /** It was started, and its process is gone without an exit code: the guest was rebooted, or its keeper killed. */
  | { readonly state: 'vanished' };

/** The guest could not do what was asked of it. The message is one line and repeats nothing of the script. */
export class ScriptError extends ExplainedError {
  /** `incomplete`: the script did not arrive whole, and was not run. `guest`: the guest lacks something. */
  readonly kind: 'incomplete' | 'guest';
  constructor(kind: ScriptError['kind'], message: string) {
    super(message);
    this.name = 'ScriptError';
    this.kind = kind;
  }
}

export interface StartOptions {
  /** UTF-8. Travels on the channel's input only: never in an argument, the environment, or a lasting file. */
  readonly script: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface CallOptions {
  /** Default: 30 s. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const CALL_TIMEOUT_MS = 30_000;
const ANSWER_BYTES = 4096;
/** How long a command in the guest waits for the script's end before it is asked anew. */
const WATCH_SECONDS = 60;
/** Read beyond the tail that is asked for, so that cutting out control characters leaves enough. */
const TAIL_SURPLUS = 4;

/**
 * Starts the script, detached: it outlives this session and this process. Returns when its process was
 * seen. At most one start ever takes place in a guest, however often and from however many sessions this is
 * called: `alreadyStarted` for all others. Rejects with an {@link SshError} where the connection failed: the
 * script may run then, or not; calling again is safe. Rejects with a {@link ScriptError} where it cannot run.
 */
export async function startScript(
  session: SshSession,
  options: StartOptions,
): Promise<'started' | 'alreadyStarted'> {
  const { form, argv } = interpreterOf(options.script);
  // A shell lets go of the script's descriptor first, so that no child inherits it. In the first line, so
  // that the numbers of lines stay as they are.
  const bytes = Buffer.from(form === 'shell' ? `exec 9<&-;${options.script}` : options.script);
  const command = guestCommand(START, [SUPERVISE, String(bytes.length), form, ...argv]);
  const { timeoutMs, signal } = options;
  const result = await session.exec(command, {
    stdin: bytes,
    timeoutMs,
    signal,
    maxOutputBytes: ANSWER_BYTES,
  });
  switch (lastLine(result)) {
    case 'started':
      return 'started';
    case 'alreadyStarted':
      return 'alreadyStarted';
    case 'incomplete':
      throw new ScriptError('incomplete', `the setup script did not arrive whole${detail(result)}`);
    default:
      throw new ScriptError('guest', `the guest could not start the setup script${detail(result)}`);
  }
}

/** What is true at this moment. */
export async function observeScript(session: SshSession, options: CallOptions = {}): Promise<ScriptState> {
  return parseState(await call(session, guestCommand(OBSERVE, ['0']), options));
}

/**
 * Settles when the script no longer runs, or does not run in the first place, with its state; told by the
 * guest at once. Rejects when the session ends: connect again and call again.
 */
export async function watchScript(
  session: SshSession,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Exclude<ScriptState, { state: 'running' }>> {
  const command = guestCommand(OBSERVE, [String(WATCH_SECONDS)]);
  const timeoutMs = WATCH_SECONDS * 1000 + CALL_TIMEOUT_MS;
  for (;;) {
    const seen = parseState(await call(session, command, { ...options, timeoutMs }));
    if (seen.state !== 'running') return seen;
  }
}

/**
 * Ends the script and its process group: SIGTERM, and SIGKILL after `graceSeconds`. Returns what came of it;
 * anything where there is nothing to end.
 */
export async function killScript(
  session: SshSession,
  options: CallOptions & { readonly graceSeconds?: number | undefined } = {},
): Promise<ScriptState> {
  const { graceSeconds = 5, timeoutMs = (graceSeconds + 10) * 1000 + CALL_TIMEOUT_MS, signal } = options;
  return parseState(await call(session, guestCommand(KILL, [String(graceSeconds)]), { timeoutMs, signal }));
}

/** The end of what the script wrote so far, at most `maxBytes` of UTF-8; see {@link cutTail}. */
export async function readOutputTail(
  session: SshSession,
  maxBytes = 4096,
  options: CallOptions = {},
): Promise<string> {
  const bytes = maxBytes * TAIL_SURPLUS;
  const mark = `shoes-vz:${randomUUID()}\n`;
  const result = await session.exec(guestCommand(TAIL, [String(bytes), mark.trimEnd()]), {
    timeoutMs: options.timeoutMs ?? CALL_TIMEOUT_MS,
    signal: options.signal,
    maxOutputBytes: ANSWER_BYTES + bytes,
    encoding: 'latin1',
  });
  const [, ...output] = result.stdout.split(mark);
  if (output.length === 0)
    throw new ScriptError('guest', `the guest does not tell the setup script's output${detail(result)}`);
  return cutTail(Buffer.from(output.join(mark), 'latin1'), maxBytes);
}

async function call(session: SshSession, command: string, options: CallOptions): Promise<ExecResult> {
  const { timeoutMs = CALL_TIMEOUT_MS, signal } = options;
  return await session.exec(command, { timeoutMs, signal, maxOutputBytes: ANSWER_BYTES });
}

function parseState(result: ExecResult): ScriptState {
  const match = /^(absent|incomplete|vanished|running|exited)(?: (\d+))?$/.exec(lastLine(result) ?? '');
  const [, state, number] = match ?? [];
  if (state === 'absent' || state === 'incomplete' || state === 'vanished') return { state };
  if (state === 'running' && number !== undefined) return { state, pid: Number(number) };
  if (state === 'exited' && number !== undefined) return { state, exitCode: Number(number) };
  throw new ScriptError('guest', `the guest does not tell the setup script's state${detail(result)}`);
}

/** The answer of a program in the guest; whatever is before it was printed by the user's own profile. */
function lastLine({ stdout }: ExecResult): string | undefined {
  return /(?:^|\n)([^\n]*)\n$/.exec(stdout)?.[1];
}

/** What the guest said of a failure, on one line. These programs never write what is in the script. */
function detail({ stderr, exitCode }: ExecResult): string {
  const said = cutTail(Buffer.from(stderr), 300).trim().replace(/\s+/g, ' ');
  return said === '' ? ` (exit code ${exitCode})` : `: ${said}`;
}
