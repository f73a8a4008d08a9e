import { HostTemplate } from '../../../crds/host.ts';
import type { TemplateMetadata } from '../../vm/template.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { VerifiedTemplates } from './verified.ts';

/** A bundle whose digests are right. */
export interface TemplateBundle {
  readonly dir: string;
  readonly metadata: TemplateMetadata;
}

/** How a bundle is read; both reject with an error whose message is one line for a person. */
export interface TemplateReader {
  /** Cheap: the metadata, and that every file it names is there in its size. */
  read(dir: string): Promise<TemplateMetadata>;
  /** Costs reading every byte: the digests. */
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

/** Looks at one bundle. Digests are computed only where the directory changed since they were found right. */
export async function judgeBundle(
  name: string,
  dir: string,
  reader: TemplateReader,
  verified: VerifiedTemplates,
  signal: AbortSignal,
): Promise<Judgement> {
  const before = await fingerprintOf(dir);
  if (before === undefined) {
    await verified.remember(name, undefined);
    return { state: 'absent' };
  }
  const result = await inspect(name, dir, reader, verified.has(name, before.value), signal);
  const after = await fingerprintOf(dir);
  if (after?.value !== before.value) return { state: 'changing' };
  if (typeof result === 'string') {
    return { state: 'broken', problem: result, fingerprint: before.value, changedAt: before.changedAt };
  }
  await verified.remember(name, before.value);
  return { state: 'healthy', bundle: { dir, metadata: result }, fingerprint: before.value };
}

/** The metadata, or what is wrong. */
async function inspect(
  name: string,
  dir: string,
  reader: TemplateReader,
  verified: boolean,
  signal: AbortSignal,
): Promise<TemplateMetadata | string> {
  try {
    const metadata = await reader.read(dir);
    if (metadata.name !== name) {
      return `TemplateMetadata.json: name is "${metadata.name}", but the directory is "${name}"; rename one of them`;
    }
    const offer = HostTemplate.safeParse(metadata);
    const issue = offer.error?.issues[0];
    if (issue !== undefined) return `TemplateMetadata.json: ${issue.path.join('.')}: ${issue.message}`;
    if (!verified) await reader.verify(dir, metadata, signal);
    return metadata;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
