import { join } from 'node:path';
import { expect, test } from 'vitest';
import { VERSION } from '../version.ts';
import { bundleAgent } from './agent-bundle.ts';

test('the agent is one script that needs nothing but Node.js', async () => {
  const files = await bundleAgent(join(import.meta.dirname, '../../guest'));
  expect([...files.keys()]).toEqual(['agent.js']);
  const code = files.get('agent.js') ?? '';
  const required = [...code.matchAll(/require\("([^"]+)"\)/g)].map(([, name]) => name);
  expect(required).toContain('node:http');
  expect(required.filter((name) => !name?.startsWith('node:'))).toEqual([]);
  expect(code).toContain(JSON.stringify(VERSION));
  expect(code).not.toContain('SHOESVZ_VERSION');
});
