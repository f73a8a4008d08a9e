import { HostTemplate } from '../../../crds/host.ts';
import type { TemplateBundle, TemplateMetadata } from '../../vm/template.ts';
import { TEMPLATE_METADATA } from '../../vm/template.ts';
import { fingerprintOf } from './fingerprint.ts';

/** How a bundle is read; both reject with one line for a person, which names the template. */
export interface TemplateReader {
  /** Cheap: the metadata, and that every file it names is there in its size. */
  read(dir: string): Promise<TemplateMetadata>;
  /** The digests. May cost reading every byte. */
  verify(dir: string, metadata: TemplateMetadata, signal: AbortSignal): Promise<void>;
}

/**
 * What came of looking at one bundle directory. `changing`: it was written to meanwhile, so nothing can be
 * said of it yet.
 */
export type Judgement =
  | { readonly state: 'absent' }
  | { readonly state: 'changing' }
  | { readonly state: 'healthy'; readonly bundle: TemplateBundle; readonly fingerprint: string }
  | {
      readonly state: 'broken';
      readonly problem: string;
      readonly fingerprint: string;
      /** Epoch milliseconds of the last change: what changed a moment ago may still be arriving. */
      readonly changedAt: number;
    };

/** Looks at one bundle. */
export async function judgeBundle(
  name: string,
  dir: string,
  reader: TemplateReader,
  signal: AbortSignal,
): Promise<Judgement> {
  const before = await fingerprintOf(dir);
  if (before === undefined) return { state: 'absent' };
  const result = await inspect(name, dir, reader, signal);
  const after = await fingerprintOf(dir);
  if (after?.value !== before.value) return { state: 'changing' };
  if (typeof result === 'string') {
    return { state: 'broken', problem: result, fingerprint: before.value, changedAt: before.changedAt };
  }
  return {
    state: 'healthy',
    bundle: { dir, metadata: result },
    fingerprint: before.value,
  };
}

/** The metadata, or what is wrong. */
async function inspect(
  name: string,
  dir: string,
  reader: TemplateReader,
  signal: AbortSignal,
): Promise<TemplateMetadata | string> {
  const wrong = (what: string) => `template ${name}: ${TEMPLATE_METADATA}: ${what}`;
  try {
    const metadata = await reader.read(dir);
    if (metadata.name !== name) {
      return wrong(`name is "${metadata.name}", but the directory is "${name}"; rename one of them`);
    }
    const issue = HostTemplate.safeParse(metadata).error?.issues[0];
    if (issue !== undefined) return wrong(`${issue.path.join('.')}: ${issue.message}`);
    await reader.verify(dir, metadata, signal);
    return metadata;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
