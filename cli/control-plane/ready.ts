import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import type { Pki } from './pki.ts';

const POLL_MS = 20;
const REQUEST_TIMEOUT_MS = 2_000;

/** Settles when the condition holds; false where the signal or the deadline came first. */
async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  while (!signal.aborted && performance.now() < deadline) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return false;
}

/** Waits for a file to appear. */
export const waitForFile = (path: string, deadlineMs: number, signal: AbortSignal): Promise<boolean> =>
  until(() => existsSync(path), deadlineMs, signal);

/** Waits for the API server to answer /readyz with 200, asked as the administrator. */
export async function waitForReady(
  server: string,
  pki: Pki,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const agent = new Agent({
    ca: await readFile(pki.caCertificate),
    cert: await readFile(pki.adminCertificate),
    key: await readFile(pki.adminKey),
    keepAlive: true,
    maxSockets: 1,
  });
  try {
    return await until(() => answersOk(`${server}/readyz`, agent), deadlineMs, signal);
  } finally {
    agent.destroy();
  }
}

function answersOk(url: string, agent: Agent): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request(url, { agent, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      response.resume();
      response.once('close', () => resolve(response.statusCode === 200));
    });
    call.once('timeout', () => call.destroy());
    call.once('error', () => resolve(false));
    call.end();
  });
}
