import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { VmError } from '../driver.ts';
import { isTemplateProblem, readTemplate, TEMPLATE_FILES } from '../template.ts';

/** What of a sealed template QEMU needs. */
export interface BootableTemplate {
  readonly dir: string;
  readonly disk: string;
  readonly kernel: string;
  /** Identifies the kernel: what booted once under an accelerator will again. */
  readonly kernelDigest: string;
  readonly initrd: boolean;
  readonly kernelArgs: string;
}

/**
 * Reads a template and checks that its files are there in full size; whether their content is what was sealed
 * was told when the host listed it. Throws {@link VmError} TemplateMissing, naming the file.
 */
export async function readBootableTemplate(dir: string): Promise<BootableTemplate> {
  const result = await readTemplate(dir);
  if (isTemplateProblem(result)) throw new VmError('TemplateMissing', result.message);
  const { os, arch, files, kernelArgs } = result.metadata;
  const unfit = (what: string): VmError =>
    new VmError('TemplateMissing', `template ${basename(dir)}: ${what}`);
  if (os !== 'linux' || arch !== 'amd64')
    throw unfit(`is for ${os} ${arch}; the qemu driver runs linux amd64`);
  const kernel = files[TEMPLATE_FILES.kernel];
  if (kernel === undefined) throw unfit(`has no file ${TEMPLATE_FILES.kernel}, which QEMU boots from`);
  return {
    dir,
    disk: join(dir, TEMPLATE_FILES.disk),
    kernel: join(dir, TEMPLATE_FILES.kernel),
    kernelDigest: kernel.digest,
    initrd: files[TEMPLATE_FILES.initrd] !== undefined,
    kernelArgs: kernelArgs ?? '',
  };
}

/** The first template that could boot here, by name; undefined where there is none. */
export async function anyBootableTemplate(templatesDir: string): Promise<BootableTemplate | undefined> {
  const names = await readdir(templatesDir).catch(() => []);
  for (const name of names.sort()) {
    const template = await readBootableTemplate(join(templatesDir, name)).catch(() => undefined);
    if (template !== undefined) return template;
  }
  return undefined;
}
