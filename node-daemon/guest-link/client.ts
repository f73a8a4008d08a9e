import { type IncomingMessage, request } from 'node:http';
import type { GuestStatus } from '../../guest/protocol.ts';
import { GuestLinkError } from './errors.ts';
import { parseStatus } from './messages.ts';

/** Where the guest's agent listens, as the host dials it. */
export interface AgentEndpoint {
  readonly host: string;
  readonly port: number;
}

export interface FetchOptions {
  /** For the whole conversation. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const MAX_ANSWER_BYTES = 16 * 1024;
const MAX_HEADER_BYTES = 8 * 1024;

/**
 * What the agent tells of its guest. The caller compares `uid` and `attempt` with whom it meant to ask. Rejects
 * with a {@link GuestLinkError}, or with the signal's reason.
 */
export async function fetchGuestStatus(
  endpoint: AgentEndpoint,
  token: string,
  options: FetchOptions,
): Promise<GuestStatus> {
  const answer = await get(endpoint, '/status', { authorization: `Bearer ${token}` }, options);
  if (answer.code === 401) {
    throw new GuestLinkError(
      'unauthorized',
      `the agent at ${address(endpoint)} does not know the VM's token`,
    );
  }
  const status = answer.code === 200 ? parseStatus(answer.body) : undefined;
  if (status === undefined) throw invalid(endpoint, answer.code);
  return status;
}

/** Settles when the agent says that it is there. Rejects as {@link fetchGuestStatus} does. Needs no token. */
export async function fetchGuestHealth(endpoint: AgentEndpoint, options: FetchOptions): Promise<void> {
  const { code } = await get(endpoint, '/health', {}, options);
  if (code !== 200) throw invalid(endpoint, code);
}

interface Answer {
  readonly code: number;
  readonly body: string;
}

/** A connection of its own: an idle one kept open would outlive the VM. */
async function get(
  endpoint: AgentEndpoint,
  path: string,
  headers: Readonly<Record<string, string>>,
  { timeoutMs, signal }: FetchOptions,
): Promise<Answer> {
  signal?.throwIfAborted();
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const { host, port } = endpoint;
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ host, port, path, headers, agent: false, maxHeaderSize: MAX_HEADER_BYTES, signal: either })
        .on('response', resolve)
        .on('error', reject)
        .end();
    });
    return { code: response.statusCode ?? 0, body: await readBody(response, endpoint) };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof GuestLinkError) throw error;
    if (timeout.aborted) {
      const seconds = timeoutMs / 1000;
      throw new GuestLinkError(
        'timeout',
        `the agent at ${address(endpoint)} did not answer within ${seconds} s`,
      );
    }
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code.startsWith('HPE_')) throw invalid(endpoint, code);
    throw new GuestLinkError('unreachable', `the agent at ${address(endpoint)} does not answer (${code})`, {
      cause: error,
    });
  }
}

async function readBody(response: IncomingMessage, endpoint: AgentEndpoint): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw invalid(endpoint, 'too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function invalid(endpoint: AgentEndpoint, what: number | string): GuestLinkError {
  const message = `what answers at ${address(endpoint)} does not speak as the guest agent does (${what})`;
  return new GuestLinkError('invalid', message);
}

const address = ({ host, port }: AgentEndpoint): string => `${host}:${port}`;
