import { request } from 'node:http';
import type { GuestReport } from './protocol.ts';

const ATTEMPT_MS = 5_000;

/** POST {notifyUrl}/notify. Resolves to whether it was answered 204; never rejects, takes at most 5 s. */
export function postReport(notifyUrl: string, token: string, report: GuestReport): Promise<boolean> {
  const body = Buffer.from(JSON.stringify(report));
  return new Promise((resolve) => {
    const post = request(new URL('/notify', notifyUrl), {
      method: 'POST',
      agent: false,
      signal: AbortSignal.timeout(ATTEMPT_MS),
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': body.length,
      },
    });
    post.on('response', (response) => {
      response.resume();
      resolve(response.statusCode === 204);
    });
    post.on('error', () => resolve(false));
    post.end(body);
  });
}
