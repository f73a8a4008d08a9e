import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { customResourceDefinition } from './custom-resource-definition.ts';
import { manifestSchema } from './json-schema.ts';
import { KINDS } from './kinds.ts';

const HEADER = '# Generated from crds/*.ts by "npm run generate". Do not edit.\n';

/** Every generated file, name → content: a CustomResourceDefinition and a JSON Schema for each kind. */
export function generatedFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const kind of KINDS) {
    // YAML 1.1 is what kubectl reads: there "y" and "on" are booleans and must be quoted.
    const definition = stringify(customResourceDefinition(kind), { lineWidth: 110, version: '1.1' });
    files.set(`${kind.resource.plural}.yaml`, HEADER + definition);
    files.set(`${kind.singular}.schema.json`, `${JSON.stringify(manifestSchema(kind), null, 2)}\n`);
  }
  return files;
}

/** Makes the directory hold these files and no others. */
export async function writeFiles(directory: string, files: ReadonlyMap<string, string>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, content] of files) await writeFile(join(directory, name), content);
  for (const name of await readdir(directory)) if (!files.has(name)) await rm(join(directory, name));
}

/** Names of the files that are not as they would be written: changed, missing or left over. */
export async function staleFiles(directory: string, files: ReadonlyMap<string, string>): Promise<string[]> {
  const present = await readdir(directory).catch(() => []);
  const stale = present.filter((name) => !files.has(name));
  for (const [name, content] of files) {
    const onDisk = await readFile(join(directory, name), 'utf8').catch(() => undefined);
    if (onDisk !== content) stale.push(name);
  }
  return stale.sort();
}
