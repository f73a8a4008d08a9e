import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { customResourceDefinition } from './custom-resource-definition.ts';
import { manifestSchema } from './json-schema.ts';
import { KINDS } from './kinds.ts';

const DIRECTORY = join(import.meta.dirname, 'generated');
const HEADER = '# Generated from crds/*.ts by `npm run generate`. Do not edit.\n';

/** Every generated file: name → content. */
function generatedFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const kind of KINDS) {
    const definition = stringify(customResourceDefinition(kind), { lineWidth: 110, version: '1.1' });
    files.set(`${kind.resource.plural}.yaml`, HEADER + definition);
    files.set(`${kind.singular}.schema.json`, `${JSON.stringify(manifestSchema(kind), null, 2)}\n`);
  }
  return files;
}

async function writeAll(files: ReadonlyMap<string, string>): Promise<void> {
  await mkdir(DIRECTORY, { recursive: true });
  for (const [name, content] of files) await writeFile(join(DIRECTORY, name), content);
  for (const name of await readdir(DIRECTORY)) if (!files.has(name)) await rm(join(DIRECTORY, name));
}

/** Names of the files on disk that are not what would be written: changed, missing or left over. */
async function staleFiles(files: ReadonlyMap<string, string>): Promise<string[]> {
  const present = await readdir(DIRECTORY).catch(() => []);
  const stale = present.filter((name) => !files.has(name));
  for (const [name, content] of files) {
    const onDisk = await readFile(join(DIRECTORY, name), 'utf8').catch(() => undefined);
    if (onDisk !== content) stale.push(name);
  }
  return stale.sort();
}

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const files = generatedFiles();
if (values.check) {
  const stale = await staleFiles(files);
  for (const name of stale) {
    const path = relative(process.cwd(), join(DIRECTORY, name));
    process.stderr.write(`${path} is not what the schemas in crds/ say: run "npm run generate"\n`);
  }
  if (stale.length > 0) process.exitCode = 1;
} else {
  await writeAll(files);
}
