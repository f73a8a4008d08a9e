import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Passage, reportOf, tableOf } from './matrix.ts';

/** Prints how long recovery took; with SHOESVZ_CHAOS_REPORT, leaves every point as JSON in that directory. */
export async function report(title: string, passages: readonly Passage[]): Promise<void> {
  const matrix = reportOf(title, passages);
  process.stdout.write(`${tableOf(matrix)}\n`);
  const dir = process.env.SHOESVZ_CHAOS_REPORT;
  if (dir === undefined) return;
  await mkdir(dir, { recursive: true });
  const file = `${title.replaceAll(/[^a-z0-9]+/gi, '-').toLowerCase()}.json`;
  await writeFile(join(dir, file), `${JSON.stringify(matrix, null, 2)}\n`);
}
