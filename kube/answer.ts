import type { Dispatcher } from 'undici';
import { ApiError, apiErrorFromStatus } from './errors.ts';

export type Headers = Record<string, string | string[] | undefined>;

const MAX_BODY_BYTES = 256 * 1024 * 1024;

/** What the server asks to wait, in seconds; undefined where it does not. */
export function retryAfterSeconds(headers: Headers): number | undefined {
  const value = Number(headers['retry-after']);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** ApiError of a failed answer, whether or not its body is a Status. */
export function answerError(statusCode: number, body: string, retryAfter: number | undefined): ApiError {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null && 'kind' in parsed && parsed.kind === 'Status') {
      return apiErrorFromStatus(parsed, statusCode);
    }
  } catch {
    // Not a Status: a proxy's or a load balancer's page.
  }
  const text = body.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
  return new ApiError(
    statusCode,
    statusCode === 429 ? 'TooManyRequests' : '',
    text === '' ? `HTTP ${statusCode}` : `HTTP ${statusCode}: ${text}`,
    retryAfter === undefined ? undefined : { retryAfterSeconds: retryAfter },
  );
}

/** The whole body as text; throws where it is larger than anything sensible. */
export async function readBody(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error(`an answer of more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
