import { request } from 'node:http';
import type { GuestStatus } from '../../guest/protocol.ts';
import { parseStatus } from './report.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface AskOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The guest's agent gave no usable answer. The message carries no secret. */
export class GuestUnreachable extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'GuestUnreachable';
  }
}

const MAX_ANSWER_BYTES = 16_384;

/** `GET /status`, for which the agent wants the VM's token. Rejects with {@link GuestUnreachable}. */
export async function fetchGuestStatus(
  endpoint: Endpoint,
  token: string,
  options: AskOptions,
): Promise<GuestStatus> {
  const status = parseStatus(await get(endpoint, '/status', { authorization: `Bearer ${token}` }, options));
  if (status === undefined) throw new GuestUnreachable("the guest agent's answer is no status");
  return status;
}

/** `GET /health`. Rejects with {@link GuestUnreachable} where the agent does not answer 200. */
export async function checkGuestHealth(endpoint: Endpoint, options: AskOptions): Promise<void> {
  await get(endpoint, '/health', {}, options);
}

function get(
  { host, port }: Endpoint,
  path: string,
  headers: Record<string, string>,
  { timeoutMs, signal }: AskOptions,
): Promise<string> {
  const limit = AbortSignal.timeout(timeoutMs);
  const aborted = signal === undefined ? limit : AbortSignal.any([signal, limit]);
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void =>
      reject(new GuestUnreachable(`the guest agent at ${host}:${port} ${why}`, { cause }));
    const asked = request({ host, port, path, headers, agent: false, signal: aborted }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_ANSWER_BYTES) asked.destroy(new Error('too long an answer'));
      });
      answer.on('error', (error) => fail('broke off', error));
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'));
        else fail(`answered ${answer.statusCode}`);
      });
    });
    asked.on('error', (error) =>
      fail(limit.aborted ? `did not answer within ${timeoutMs} ms` : 'cannot be reached', error),
    );
    asked.end();
  });
}
