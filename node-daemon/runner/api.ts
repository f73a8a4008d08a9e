import { RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isNotFound } from '../../kube/errors.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import { writeStatus } from '../../kube/status.ts';
import type { RunnerApi } from './ports.ts';

interface Secret extends KubeObject {
  readonly kind: 'Secret';
  readonly data?: Readonly<Record<string, string>>;
}

const SECRETS: ResourceType<Secret> = {
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
};

/** {@link RunnerApi} over the API server. */
export function runnerApi(client: Pick<KubeClient, 'resources'>): RunnerApi {
  const runners = client.resources<Runner>(RUNNERS);
  const templates = client.resources<Template>(TEMPLATES);
  const secrets = client.resources<Secret>(SECRETS);
  return {
    get: (ref) => runners.get(ref),
    list: async () => (await runners.list()).items,
    template: (name) => templates.get({ name }),
    writeStatus: async (runner, status) => (await writeStatus<Runner>(runners, runner, status)).object,
    removeFinalizer: async (runner, finalizer) => {
      const { namespace, name, resourceVersion } = runner.metadata;
      const finalizers = (runner.metadata.finalizers ?? []).filter((one) => one !== finalizer);
      try {
        return await runners.patch({ namespace, name }, resourceVersion, { metadata: { finalizers } });
      } catch (error) {
        // A server that does not serve the kind says 404, too: that is no word about the object.
        if (isNotFound(error) && (await runners.get({ namespace, name })) === undefined) return undefined;
        throw error;
      }
    },
    readSecret: async (namespace, name, key) => {
      const value = (await secrets.get({ namespace, name }))?.data?.[key];
      return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
    },
  };
}
