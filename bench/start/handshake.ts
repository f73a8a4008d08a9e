import { readFile } from 'node:fs/promises';
import type { Runner } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { openSession } from '../../node-daemon/ssh/session.ts';
import { bundlePaths } from '../../node-daemon/vm/bundle.ts';
import { median } from '../harness/statistics.ts';

const HANDSHAKES = 5;
const TIMEOUT_MS = 30_000;

/** Median time of SSH handshakes with the VM, each from the connection to the end of authentication. */
export async function measureHandshake(hostRoot: string, runner: Stored<Runner>): Promise<number> {
  const ssh = runner.status?.ssh;
  if (ssh === undefined) throw new Error(`${runner.metadata.name} is not SSH-ready`);
  const privateKey = await readFile(bundlePaths(hostRoot, runner.metadata.uid, 1).privateKey, 'utf8');
  const times: number[] = [];
  for (let count = 0; count < HANDSHAKES; count += 1) {
    const began = performance.now();
    const session = await openSession({ ...ssh, privateKey }, { timeoutMs: TIMEOUT_MS });
    times.push(performance.now() - began);
    session.close();
    await session.closed;
  }
  return median(times);
}
