import { API_VERSION } from '../../crds/meta.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import { DEFAULT_CLASS_ANNOTATION } from '../../crds/runner-class.ts';
import type { KubeObject } from '../../kube/object.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { macTemplate, template } from '../builders/template.ts';
import { scriptOf } from './host/guest-script.ts';
import { NAMESPACE, SECRET, USER } from './names.ts';
import type { RunnerWish } from './plan.ts';
import type { World } from './world.ts';

/** Templates and classes, as an administrator declares them. */
export function declare({ server }: World): void {
  const annotations = { [DEFAULT_CLASS_ANNOTATION]: 'true' };
  const small = { cpu: 1, memory: '1Gi', disk: '4Gi' };
  const large = { cpu: 4, memory: '8Gi', disk: '40Gi' };
  server.create(USER, bare(runnerClass({ metadata: { name: 'small', annotations }, spec: small })));
  server.create(USER, bare(runnerClass({ metadata: { name: 'large' }, spec: large }) satisfies RunnerClass));
  declareTemplate(server, 'linux');
  server.create(USER, bare(macTemplate({ spec: { source: { bundle: { digest: undefined } } } })));
}

export function declareTemplate(server: World['server'], name: string): void {
  const source = { bundle: { name, digest: undefined } };
  server.create(USER, bare(template({ metadata: { name }, spec: { source } })));
}

/** Creates the Runner and the Secret that it names. What is there already stays. */
export function createRunner({ server }: World, name: string, { spec, script }: RunnerWish): void {
  if (server.get('Runner', { namespace: NAMESPACE, name }) !== undefined) return;
  const setupScript = script && (script.fromSecret ? fromSecret(name) : { inline: scriptOf(script) });
  if (script?.fromSecret) {
    const text = scriptOf(script, `${SECRET}-${name}`);
    const secret: KubeObject & { data: object } = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace: NAMESPACE, name: `setup-${name}` },
      data: { script: Buffer.from(text).toString('base64') },
    };
    const known = server.get('Secret', secret.metadata);
    if (known === undefined) server.create(USER, secret);
    else server.patch(USER, 'Secret', secret.metadata, { data: secret.data });
  }
  const runner: KubeObject & { spec: object } = {
    apiVersion: API_VERSION,
    kind: 'Runner',
    metadata: { namespace: NAMESPACE, name },
    spec: { ...spec, ...(setupScript && { setupScript }) },
  };
  server.create(USER, runner);
}

const fromSecret = (name: string) => ({ secretKeyRef: { name: `setup-${name}`, key: 'script' } });

/** Without the status that builders give: the server makes its own. */
function bare(object: KubeObject): KubeObject {
  return JSON.parse(JSON.stringify({ ...object, status: undefined })) as KubeObject;
}
