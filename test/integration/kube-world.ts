import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type KubeClient, type KubeClientOptions, loadKubeClient } from '../../kube/client.ts';
import { Informer, type InformerOptions, type InformerProblem } from '../../kube/informer.ts';
import type { KubeObject, ObjectMeta, ResourceType } from '../../kube/object.ts';
import { TcpProxy } from './kube-tcp-proxy.ts';

export interface ConfigMap extends KubeObject {
  apiVersion: 'v1';
  kind: 'ConfigMap';
  data?: Record<string, string> | undefined;
}

export const CONFIG_MAPS: ResourceType<ConfigMap> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

export const configMap = (metadata: ObjectMeta, value = '1'): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata,
  data: { value },
});

/** A client whose connections all go through a proxy that a test can break. */
export interface Proxied {
  readonly client: KubeClient;
  readonly proxy: TcpProxy;
  close(): Promise<void>;
}

export async function proxiedClient(
  kubeconfig: string,
  options: Partial<KubeClientOptions> = {},
): Promise<Proxied> {
  const config = await readKubeconfig(kubeconfig);
  const proxy = await TcpProxy.start(config.clusters[0].cluster.server);
  config.clusters[0].cluster.server = `https://localhost:${proxy.port}`;
  const client = await clientOf(config, options);
  const close = async () => {
    await client.close();
    await proxy.close();
  };
  return { client, proxy, close };
}

/** A client of the same server for another user. */
export async function clientAs(kubeconfig: string, change: (user: object) => object): Promise<KubeClient> {
  const config = await readKubeconfig(kubeconfig);
  config.users[0].user = change(config.users[0].user);
  return await clientOf(config, {});
}

interface Kubeconfig {
  readonly clusters: [{ readonly cluster: { server: string } }];
  readonly users: [{ user: object }];
}

const readKubeconfig = async (path: string) => parse(await readFile(path, 'utf8')) as Kubeconfig;

async function clientOf(config: Kubeconfig, options: Partial<KubeClientOptions>): Promise<KubeClient> {
  const dir = await mkdtemp(join(tmpdir(), 'svz-'));
  try {
    const kubeconfigPath = join(dir, 'kubeconfig');
    await writeFile(kubeconfigPath, stringify(config), { mode: 0o600 });
    return loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-test/0', ...options });
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** An informer on ConfigMaps that writes down what it is told. */
export class Watched {
  readonly story: string[] = [];
  readonly problems: InformerProblem[] = [];
  readonly informer: Informer<ConfigMap, 'value'>;
  #woken = Promise.withResolvers<void>();

  constructor(client: KubeClient, options: Partial<InformerOptions<ConfigMap, 'value'>> = {}) {
    this.informer = new Informer<ConfigMap, 'value'>({
      client,
      type: CONFIG_MAPS,
      indexes: { value: (map) => [map.data?.value ?? ''] },
      onProblem: (problem) => {
        this.problems.push(problem);
        this.#wake();
      },
      ...options,
    });
    this.informer.on({
      added: (map) => this.#tell(`+${map.metadata.name}=${map.data?.value}`),
      updated: (_, map) => this.#tell(`${map.metadata.name}=${map.data?.value}`),
      deleted: (map) => this.#tell(`-${map.metadata.name}`),
    });
  }

  get names(): string[] {
    return this.informer.store
      .list()
      .map((map) => map.metadata.name)
      .sort();
  }

  /** Resolves once the informer was told something, or had a problem, that makes it true. */
  async until(what: string, isTrue: () => boolean): Promise<void> {
    const deadline = setTimeout(
      () => this.#woken.reject(new Error(`waited in vain for ${what}: ${this.story}`)),
      40_000,
    );
    try {
      while (!isTrue()) await this.#woken.promise;
    } finally {
      clearTimeout(deadline);
    }
  }

  #tell(line: string): void {
    this.story.push(line);
    this.#wake();
  }

  #wake(): void {
    this.#woken.resolve();
    this.#woken = Promise.withResolvers();
    this.#woken.promise.catch(() => undefined);
  }
}
