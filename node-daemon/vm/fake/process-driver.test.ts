import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmBackend } from '../backend.ts';
import { BundleStore } from '../bundle.ts';
import { vmDriverContract } from '../contract.ts';
import type { BundlePaths } from '../driver.ts';
import { systemProcesses } from '../process.ts';
import { ProcessDriver } from './process-driver.ts';

const SUBNET = '127.129';

function backendOf(root: string): VmBackend {
  const [bundles, processes] = [new BundleStore(root), systemProcesses()];
  return { bundles, processes, driver: new ProcessDriver({ bundles, processes, subnet: SUBNET }) };
}

async function kill({ processes }: VmBackend, bundle: BundlePaths): Promise<void> {
  const found = await processes.find(bundle);
  if (found.state !== 'present') throw new Error(`no process to kill: ${found.state}`);
  for (const { pid } of found.processes) process.kill(pid, 'SIGKILL');
}

async function occupy(host: string, port: number): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  return () => new Promise((resolve) => server.close(() => resolve()));
}

vmDriverContract('processes', async () => {
  const root = await mkdtemp(join(tmpdir(), 'sv-'));
  for (const dir of ['runners', 'templates/good', 'templates/bad']) {
    await mkdir(join(root, dir), { recursive: true });
  }
  await writeFile(join(root, 'templates/good/Disk.img'), 'golden', { mode: 0o444 });
  const backend = backendOf(root);
  return {
    backend,
    templateDir: join(root, 'templates/good'),
    brokenTemplate: async () => ({ dir: join(root, 'templates/bad'), missing: 'Disk.img' }),
    restarted: () => backendOf(root),
    killProcess: (bundle) => kill(backend, bundle),
    loseSocket: (bundle) => rm(bundle.controlSocket),
    occupy,
    dispose: async () => {
      for (const bundle of (await backend.bundles.list()).bundles) await backend.driver.purge(bundle);
      await rm(root, { recursive: true, force: true });
    },
  };
});
