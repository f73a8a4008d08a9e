import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import type { Pki } from './pki.ts';

const POLL_MS = 20;

/**
 * Ready for the administrator. The two hooks left out poll once a second and only fill in default roles and
 * priority classes, which system:masters has no need of.
 */
const READY_PATH = `/readyz?${['rbac/bootstrap-roles', 'scheduling/bootstrap-system-priority-classes']
  .map((hook) => `exclude=poststarthook/${hook}`)
  .join('&')}`;
/** Made by a controller in the API server, which no readiness check waits for. */
const DEFAULT_NAMESPACE_PATH = '/api/v1/namespaces/default';
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

/** Waits for the API server to be ready and to have its default namespace, asked as the administrator. */
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
    const isReady = async (): Promise<boolean> =>
      (await answersOk(server + READY_PATH, agent)) &&
      (await answersOk(server + DEFAULT_NAMESPACE_PATH, agent));
    return await until(isReady, deadlineMs, signal);
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
