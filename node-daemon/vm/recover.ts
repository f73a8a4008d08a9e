import type { VmBackend } from './backend.ts';
import type { BundlePaths, VmControl } from './driver.ts';
import { readMetadata } from './metadata.ts';

/**
 * What is known of one VM. `unknown` is not absent: a process without a socket that answers, or a process
 * table that could not be read. Nothing may be created or purged of files on its strength.
 */
export type VmObservation =
  | { readonly state: 'present'; readonly control: VmControl }
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly why: string };

/** Adopts the bundle's VM if one runs, whoever started it. Never rejects. The caller closes `control`. */
export async function observeVm(
  { driver, processes }: Pick<VmBackend, 'driver' | 'processes'>,
  bundle: BundlePaths,
): Promise<VmObservation> {
  const connected = await tryConnect(driver, bundle);
  if ('control' in connected) return { state: 'present', control: connected.control };
  const found = await processes.find(bundle);
  if (found.state !== 'present') return found;
  const pids = found.processes.map(({ pid }) => pid).join(', ');
  return { state: 'unknown', why: `process ${pids} runs but does not answer: ${connected.why}` };
}

async function tryConnect(
  driver: VmBackend['driver'],
  bundle: BundlePaths,
): Promise<{ control: VmControl } | { why: string }> {
  try {
    const read = await readMetadata(bundle.metadata);
    if (read.state === 'corrupt') return { why: read.why };
    if (read.state === 'absent') return { why: 'its metadata is missing' };
    return { control: await driver.connect(bundle, read.metadata.identity) };
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) };
  }
}
