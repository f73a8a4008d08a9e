import { type Clock, systemClock } from './clock.ts';
import { checkStaticCredentials } from './credentials.ts';
import { ApiError, ApiUnreachable, isConflict, isNotFound } from './errors.ts';
import { loadClusterAccess } from './kubeconfig.ts';
import type { KubeObject, ObjectRef, ResourceType, Stored } from './object.ts';
import { collectionPath, objectPath } from './paths.ts';
import type { ListOptions, ListResult, Preconditions, Resources } from './resources.ts';
import { type Query, Transport } from './transport.ts';
import { parseWatchStream, type WatchEvent } from './watch.ts';

export interface KubeClientOptions {
  /** Default: KUBECONFIG, then ~/.kube/config, then the Pod's service account. */
  readonly kubeconfigPath?: string | undefined;
  /** Default: the kubeconfig's current-context. */
  readonly context?: string | undefined;
  /** `product/version`; the product becomes the field manager of what is written. */
  readonly userAgent: string;
  /** Bound of each call, retries included. Default: 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Ends every call and watch; they then throw ApiUnreachable with reason `Stopped`. */
  readonly signal?: AbortSignal | undefined;
  /** The server's warnings about requests: unknown fields, deprecated APIs. */
  readonly onWarning?: ((text: string) => void) | undefined;
  readonly clock?: Clock | undefined;
}

/** What `/version` says. */
export interface ServerVersion {
  readonly major: string;
  readonly minor: string;
  readonly gitVersion: string;
}

export interface ListPageOptions extends ListOptions {
  readonly limit?: number | undefined;
  readonly continueToken?: string | undefined;
}

export interface ListPage<T extends KubeObject> extends ListResult<T> {
  /** Where the next page starts; undefined on the last. */
  readonly continueToken: string | undefined;
}

export interface WatchOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** What was seen last; absent for a stream that starts with the state (`initialEvents`). */
  readonly resourceVersion?: string | undefined;
  /** A streaming list: all objects as ADDED, then a bookmark that says so, then what changes. */
  readonly initialEvents?: boolean | undefined;
  /** When the server ends the watch. */
  readonly timeoutSeconds: number;
  /** Ends the watch, which then throws ApiUnreachable. */
  readonly signal: AbortSignal;
  /** Called for every piece of data that arrives, before it is parsed. */
  readonly onContact?: (() => void) | undefined;
}

/** The collection of one kind, for informers; {@link Resources} is for everyone else. */
export interface Collection<T extends KubeObject> {
  readonly type: ResourceType<T>;
  listPage(options: ListPageOptions): Promise<ListPage<T>>;
  /** Ends when the server ends the watch; throws ApiUnreachable or ApiError when it breaks. */
  watch(options: WatchOptions): AsyncIterable<WatchEvent<T>>;
}

export interface KubeClient {
  /** URL of the API server, without credentials. */
  readonly server: string;
  resources<T extends KubeObject>(type: ResourceType<T>): Resources<T>;
  collection<T extends KubeObject>(type: ResourceType<T>): Collection<T>;
  /** GET of any path; the body of a successful answer. */
  raw(path: string): Promise<string>;
  version(): Promise<ServerVersion>;
  /** Ends everything in flight and closes all connections. Idempotent. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const PAGE_SIZE = 500;
const MERGE_PATCH = 'application/merge-patch+json';

/**
 * A client for the cluster that the kubeconfig names. Reads files, sends nothing. Throws KubeconfigError, whose
 * message is one line for a person.
 */
export function loadKubeClient(options: KubeClientOptions): KubeClient {
  const clock = options.clock ?? systemClock;
  const access = loadClusterAccess({ path: options.kubeconfigPath, context: options.context });
  checkStaticCredentials(access, clock.now());
  const transport = new Transport({
    access,
    clock,
    userAgent: options.userAgent,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    signal: options.signal,
    onWarning: options.onWarning,
  });
  return {
    server: transport.server,
    resources: (type) => new HttpResources(transport, type),
    collection: (type) => new HttpCollection(transport, type),
    raw: async (path) => await transport.call({ method: 'GET', path }),
    version: async () =>
      serverVersion(transport.server, await transport.json({ method: 'GET', path: '/version' })),
    close: async () => await transport.close(),
  };
}

function serverVersion(server: string, body: unknown): ServerVersion {
  if (typeof body === 'object' && body !== null && 'gitVersion' in body) {
    const { major, minor, gitVersion } = body as Record<string, unknown>;
    return { major: String(major), minor: String(minor), gitVersion: String(gitVersion) };
  }
  throw new ApiUnreachable(server, 'Garbled', '/version holds no version; is this a Kubernetes API server?');
}

class HttpResources<T extends KubeObject> implements Resources<T> {
  readonly #transport: Transport;
  readonly #type: ResourceType<T>;
  readonly #collection: HttpCollection<T>;

  constructor(transport: Transport, type: ResourceType<T>) {
    this.#transport = transport;
    this.#type = type;
    this.#collection = new HttpCollection(transport, type);
  }

  async get(ref: ObjectRef): Promise<Stored<T> | undefined> {
    try {
      return await this.#object('GET', objectPath(this.#type, ref));
    } catch (error) {
      // A server that does not know the kind says 404 too: that is no word about the object.
      if (isNotFound(error) && error.reason === 'NotFound' && error.details?.name === ref.name)
        return undefined;
      throw explainUnknownKind(error, this.#type);
    }
  }

  async list(options: ListOptions = {}): Promise<ListResult<T>> {
    return await listAllPages(this.#collection, options);
  }

  async create(object: T): Promise<Stored<T>> {
    const { namespace } = object.metadata;
    if (this.#type.namespaced && namespace === undefined) {
      throw new TypeError(`${this.#type.kind} needs a namespace`);
    }
    const path = collectionPath(this.#type, this.#type.namespaced ? namespace : undefined);
    return await this.#object('POST', path, object, { fieldValidation: 'Strict' });
  }

  async patch(ref: ObjectRef, resourceVersion: string, patch: object): Promise<Stored<T>> {
    return await this.#object('PATCH', objectPath(this.#type, ref), fenced(patch, resourceVersion));
  }

  async patchStatus(ref: ObjectRef, resourceVersion: string, patch: object): Promise<Stored<T>> {
    return await this.#object(
      'PATCH',
      `${objectPath(this.#type, ref)}/status`,
      fenced(patch, resourceVersion),
    );
  }

  async delete(ref: ObjectRef, { uid, resourceVersion }: Preconditions = {}): Promise<boolean> {
    try {
      await this.#transport.call({
        method: 'DELETE',
        path: objectPath(this.#type, ref),
        body: {
          apiVersion: 'v1',
          kind: 'DeleteOptions',
          propagationPolicy: 'Background',
          preconditions: { uid, resourceVersion },
        },
      });
      return true;
    } catch (error) {
      if (isNotFound(error) && error.reason === 'NotFound' && error.details?.name === ref.name) return false;
      if (uid !== undefined && isConflict(error)) {
        const current = await this.get(ref);
        if (current?.metadata.uid !== uid) return false;
      }
      throw explainUnknownKind(error, this.#type);
    }
  }

  async #object(
    method: 'GET' | 'POST' | 'PATCH',
    path: string,
    body?: object,
    query?: Query,
  ): Promise<Stored<T>> {
    try {
      const contentType = method === 'PATCH' ? MERGE_PATCH : undefined;
      const object = await this.#transport.json({ method, path, query, body, contentType });
      return asStored<T>(this.#transport.server, object);
    } catch (error) {
      throw explainUnknownKind(error, this.#type);
    }
  }
}

class HttpCollection<T extends KubeObject> implements Collection<T> {
  readonly #transport: Transport;
  readonly type: ResourceType<T>;

  constructor(transport: Transport, type: ResourceType<T>) {
    this.#transport = transport;
    this.type = type;
  }

  async listPage(options: ListPageOptions): Promise<ListPage<T>> {
    const { resourceVersion, continueToken } = options;
    const from =
      continueToken === undefined && resourceVersion !== undefined
        ? { resourceVersion, resourceVersionMatch: 'NotOlderThan' }
        : {};
    const query = {
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      limit: options.limit,
      continue: continueToken,
      ...from,
    };
    try {
      const path = collectionPath(this.type, options.namespace);
      return this.#page(await this.#transport.json({ method: 'GET', path, query }));
    } catch (error) {
      throw explainUnknownKind(error, this.type);
    }
  }

  async *watch(options: WatchOptions): AsyncGenerator<WatchEvent<T>, void> {
    const query = {
      watch: true,
      allowWatchBookmarks: true,
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      timeoutSeconds: options.timeoutSeconds,
      resourceVersion: options.resourceVersion,
      ...(options.initialEvents && { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }),
    };
    try {
      const path = collectionPath(this.type, options.namespace);
      const stream = await this.#transport.stream(path, query, options.signal);
      options.onContact?.();
      yield* parseWatchStream<T>(this.#transport.server, stream.chunks, options.onContact);
    } catch (error) {
      throw explainUnknownKind(error, this.type);
    }
  }

  /** Items of a list carry neither apiVersion nor kind where the kind is built in: they are added. */
  #page(body: unknown): ListPage<T> {
    const { items, metadata } = body as {
      items?: Stored<T>[] | null;
      metadata?: { resourceVersion?: string; continue?: string };
    };
    if (metadata?.resourceVersion === undefined) {
      throw new ApiUnreachable(this.#transport.server, 'Garbled', 'a list without resourceVersion');
    }
    const { group, version, kind } = this.type;
    const apiVersion = group === '' ? version : `${group}/${version}`;
    for (const item of items ?? []) {
      item.apiVersion ??= apiVersion;
      item.kind ??= kind;
    }
    return {
      items: items ?? [],
      resourceVersion: metadata.resourceVersion,
      continueToken: metadata.continue === '' ? undefined : metadata.continue,
    };
  }
}

/** Every page of one consistent list. Starts again, once, in one piece, where the pages expired meanwhile. */
export async function listAllPages<T extends KubeObject>(
  collection: Collection<T>,
  options: ListOptions,
): Promise<ListResult<T>> {
  try {
    const items: Stored<T>[] = [];
    let continueToken: string | undefined;
    for (;;) {
      const page = await collection.listPage({ ...options, limit: PAGE_SIZE, continueToken });
      items.push(...page.items);
      continueToken = page.continueToken;
      if (continueToken === undefined) return { items, resourceVersion: page.resourceVersion };
    }
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 410)) throw error;
    return await collection.listPage(options);
  }
}

function fenced(patch: object, resourceVersion: string): object {
  const metadata = 'metadata' in patch && typeof patch.metadata === 'object' ? patch.metadata : {};
  return { ...patch, metadata: { ...metadata, resourceVersion } };
}

function asStored<T extends KubeObject>(server: string, body: unknown): Stored<T> {
  const object = body as Partial<Stored<T>> | null;
  if (object?.metadata?.uid === undefined || object.metadata.resourceVersion === undefined) {
    throw new ApiUnreachable(server, 'Garbled', 'the answer is not an object of the API');
  }
  return object as Stored<T>;
}

/** A plain "page not found" means that no such kind is served: its CRD is missing or of another version. */
function explainUnknownKind<T extends KubeObject>(error: unknown, type: ResourceType<T>): unknown {
  const unknownKind = isNotFound(error) && error.details?.name === undefined && error.reason !== 'Expired';
  if (!unknownKind) return error;
  const resource = `${type.plural}.${type.group === '' ? 'core' : type.group}/${type.version}`;
  return new ApiError(
    404,
    'KindNotServed',
    `the API server does not serve ${resource}: is its CRD installed?`,
  );
}
