import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isTemplateProblem, readTemplate, type TemplateMetadata } from '../../node-daemon/vm/template.ts';
import { cacheDirectory } from '../control-plane/binaries-cache.ts';
import { waitForLock } from '../control-plane/lock.ts';
import { TemplateBuildError } from './error.ts';
import { findNode } from './guest-node.ts';
import { inputsDigest } from './inputs.ts';
import { guestArch, hostCodename, makeBundle } from './make-bundle.ts';
import { GUEST_PACKAGES, KERNEL_PACKAGE } from './packages.ts';
import { clearWorkDirectories, publish, requireRoom, withWorkDirectory } from './work-directory.ts';

export interface BuildLinuxTemplateOptions {
  /** Name of the template: its directory in `out`. */
  readonly name: string;
  /** Directory of templates; made where it is missing. */
  readonly out: string;
  /** Default: true. Without the agent the template's own keys are baked in. */
  readonly guestAgent?: boolean | undefined;
  /** Kept between builds. Default: the cache directory of shoes-vz. */
  readonly cacheDir?: string | undefined;
  /** Builds although a template of the same inputs is there, with the newest packages. Default: false. */
  readonly rebuild?: boolean | undefined;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

const GUEST_DIR = resolve(import.meta.dirname, '../../guest');
const LOCK_MS = 1_800_000;

/**
 * Builds a Linux template from Debian packages, without root. Takes about half a minute, or milliseconds where
 * `out` holds one of the same inputs; a different one is replaced at a stroke. Whatever ends a build, nothing
 * half-done is left: at worst a hidden directory that the next build removes. Rejects with a
 * {@link TemplateBuildError} of one line, or with the signal's reason.
 */
export async function buildLinuxTemplate(options: BuildLinuxTemplateOptions): Promise<TemplateMetadata> {
  const { name, out, log, signal } = options;
  const guestAgent = options.guestAgent ?? true;
  const cacheDir = options.cacheDir ?? cacheDirectory(process.env);
  const arch = guestArch();
  const node = await findNode();
  const codename = await hostCodename();
  const inputs = await inputsDigest({
    sourceDirs: [GUEST_DIR, import.meta.dirname],
    node: node.path,
    facts: { name, guestAgent, arch, codename, node: node.version },
  });
  const target = join(out, name);
  const lock = await lockTarget(target, cacheDir, log);
  try {
    const present = await readTemplate(target);
    const current = !isTemplateProblem(present) && present.metadata.inputs === inputs;
    if (current && options.rebuild !== true) return present.metadata;
    await makeDirectory(out);
    await clearWorkDirectories(out, name);
    await requireRoom(out);
    log(`building the template ${name} in ${target}`);
    return await withWorkDirectory(out, name, async (work) => {
      const bundle = { name, guestAgent, arch, inputs, node: node.path, guestDir: GUEST_DIR };
      const metadata = await makeBundle(work, bundle, {
        packages: GUEST_PACKAGES,
        kernelPackage: KERNEL_PACKAGE[arch],
        apt: { cacheDir: join(cacheDir, 'packages'), log, signal },
      });
      signal.throwIfAborted();
      await publish(work.bundle, target);
      log(`the template ${name} is sealed: ${metadata.digest}`);
      return metadata;
    });
  } finally {
    lock.release();
  }
}

/** Two builds of one template take turns; the second finds the work done. */
async function lockTarget(target: string, cacheDir: string, log: (line: string) => void) {
  const directory = join(cacheDir, 'template-locks');
  await makeDirectory(directory);
  const key = createHash('sha256').update(resolve(target)).digest('hex').slice(0, 16);
  const lock = await waitForLock(join(directory, key), {
    onWait: (pid) => log(`waiting for the build by process ${pid ?? '(unknown)'} of ${target}`),
    timeoutMs: LOCK_MS,
  });
  if (lock === undefined) throw new TemplateBuildError(`${target} is still being built by another process`);
  return lock;
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new TemplateBuildError(`the directory ${path} cannot be made: ${why}`);
  }
}
