import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { cacheDirectory } from '../../cli/control-plane/binaries-cache.ts';
import { ensurePackages } from '../../cli/setup/packages.ts';
import { buildLinuxTemplate } from '../../cli/template/build.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Directory that holds the sealed templates `debian`, and `debian-plain` without the guest agent. */
    templatesDir: string;
  }
}

const progress = (line: string): void => void process.stderr.write(`${line}\n`);

/** Installs what VMs need and builds the templates; takes no time where they are there and up to date. */
export async function setup(project: TestProject): Promise<void> {
  await ensurePackages(['run-vms', 'build-template', 'tests'], { progress });
  const templatesDir = join(cacheDirectory(process.env), 'templates');
  const { signal } = new AbortController();
  await buildLinuxTemplate({ name: 'debian', out: templatesDir, log: progress, signal });
  await buildLinuxTemplate({
    name: 'debian-plain',
    guestAgent: false,
    out: templatesDir,
    log: progress,
    signal,
  });
  project.provide('templatesDir', templatesDir);
}
