import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { LuaFactory } from 'wasmoon';
import { parse } from 'yaml';
import { z } from 'zod';
import type { KubeObject } from '../../kube/object.ts';

const GUIDE = fileURLToPath(new URL('../../docs/argocd.md', import.meta.url));

const ConfigMap = z.object({
  data: z.object({ 'resource.customizations.health.shoesvz.dev_Runner': z.string() }),
});

export const Health = z.object({
  status: z.enum(['Healthy', 'Progressing', 'Degraded']),
  message: z.string(),
});
export type Health = z.infer<typeof Health>;

/** The health check for Runners, as the guide gives it. */
async function healthCheck(): Promise<string> {
  const [, manifest] = /^```yaml\n(.*?)^```$/ms.exec(await readFile(GUIDE, 'utf8')) ?? [];
  if (manifest === undefined) throw new Error(`${GUIDE} holds no manifest`);
  return ConfigMap.parse(parse(manifest)).data['resource.customizations.health.shoesvz.dev_Runner'];
}

/**
 * Runs the documented health check on a Runner as Argo CD does: with the object as the global `obj`. Lua here is
 * of a later version than Argo CD's; no standard library is loaded, so that nothing depends on one.
 */
export async function argoHealth(object: KubeObject): Promise<Health> {
  const factory = new LuaFactory();
  const lua = await factory.createEngine({ openStandardLibs: false, enableProxy: false });
  try {
    lua.global.set('obj', object);
    return Health.parse(await lua.doString(await healthCheck()));
  } finally {
    lua.global.close();
  }
}
