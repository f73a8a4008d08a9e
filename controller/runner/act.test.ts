import { describe, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import { ApiError, ApiUnreachable } from '../../kube/errors.ts';
import { applyMergePatch } from '../../kube/merge-patch.ts';
import type { Stored } from '../../kube/object.ts';
import { linuxHost } from '../../test/builders/host.ts';
import { binding, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { LINUX_BUNDLE } from '../../test/builders/template.ts';
import { bind, inspect } from './act.ts';
import type { Match } from './binder.ts';
import { hostFacts } from './facts.ts';

const GiB = 2 ** 30;
const host = linuxHost({ metadata: { name: 'h', uid: 'uid-h' } });

const match = (object: Stored<Runner>): Match => ({
  runner: object,
  host: hostFacts(host, 'heard'),
  attempt: 1,
  templateName: 'linux',
  className: 'small',
  templateDigest: LINUX_BUNDLE.digest,
  demand: {
    guest: { os: 'linux', arch: 'amd64' },
    bundle: LINUX_BUNDLE,
    amounts: { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB },
    selector: {},
  },
});

/** One Runner on a server that fences writes, and that can fail before or after a write. */
class Server {
  object: Stored<Runner> | undefined;
  failBefore: Error | undefined;
  failAfter: Error | undefined;
  failRead: Error | undefined;

  constructor(object: Stored<Runner> | undefined) {
    this.object = object;
  }

  async get(): Promise<Stored<Runner> | undefined> {
    if (this.failRead !== undefined) throw this.failRead;
    return this.object;
  }

  async patch(_ref: unknown, resourceVersion: string, patch: object): Promise<Stored<Runner>> {
    if (this.failBefore !== undefined) throw this.failBefore;
    if (this.object === undefined) throw new ApiError(404, 'NotFound', 'gone', { name: 'r' });
    if (this.object.metadata.resourceVersion !== resourceVersion)
      throw new ApiError(409, 'Conflict', 'changed');
    const changed = applyMergePatch(this.object, patch) as Stored<Runner>;
    this.object = stored(changed, { resourceVersion: String(Number(resourceVersion) + 1) });
    if (this.failAfter !== undefined) throw this.failAfter;
    return this.object;
  }
}

const fresh = (): Stored<Runner> =>
  stored(runner({ metadata: { name: 'r', uid: 'uid-r', finalizers: ['a/b'] } }));
const unreachable = new ApiUnreachable('https://x', 'Reset', 'connection reset');

describe('a binding', () => {
  test('is one write of what was decided, with the finalizer beside those that are there', async () => {
    const server = new Server(fresh());
    const outcome = await bind(server, match(fresh()));
    expect(outcome).toMatchObject({
      is: 'bound',
      runner: {
        metadata: { finalizers: ['a/b', 'vm.shoesvz.dev/h.1'] },
        spec: { binding: binding(host) },
      },
    });
  });

  test('of a further attempt keeps the finalizers that stand, and what those attempts hold', async () => {
    const resources = { cpu: 8, memory: '8Gi', disk: '80Gi' };
    const first = binding(host, { hostName: 'lost', resources });
    const finalizers = ['a/b', 'vm.shoesvz.dev/lost.1'];
    const again = stored(
      runner({ metadata: { name: 'r', uid: 'uid-r', finalizers }, spec: { binding: first } }),
    );
    const second = await bind(new Server(again), { ...match(again), attempt: 2 });
    expect(second).toMatchObject({ is: 'bound' });
    if (second.is !== 'bound') return;
    expect(second.runner.metadata.finalizers).toEqual([...finalizers, 'vm.shoesvz.dev/h.2']);
    const { hostName, attempt, templateDigest } = first;
    expect(second.runner.spec.binding).toEqual({
      ...binding(host, { attempt: 2 }),
      earlier: [{ hostName, attempt, resources, templateDigest }],
    });
    const letGo = stored({
      ...second.runner,
      metadata: { ...second.runner.metadata, finalizers: ['a/b'] },
    });
    const third = await bind(new Server(letGo), { ...match(letGo), attempt: 3 });
    expect(third.is === 'bound' && third.runner.spec.binding).toEqual(binding(host, { attempt: 3 }));
  });

  test('that came too late hands back the Runner as it is now', async () => {
    const changed = stored({ ...fresh() }, { resourceVersion: '7' });
    expect(await bind(new Server(changed), match(fresh()))).toEqual({ is: 'changed', runner: changed });
    expect(await bind(new Server(undefined), match(fresh()))).toEqual({ is: 'changed', runner: undefined });
  });

  test('that was written before, unheard, is found to be there', async () => {
    const server = new Server(fresh());
    server.failAfter = unreachable;
    expect(await bind(server, match(fresh()))).toMatchObject({ is: 'unknown' });
    server.failAfter = undefined;
    expect(await bind(server, match(fresh())), 'the conflict is with itself').toMatchObject({ is: 'bound' });
    expect(await inspect(server, match(fresh()))).toMatchObject({ is: 'bound' });
  });

  test.each([400, 403, 422])('that is answered with %i is refused', async (code) => {
    const server = new Server(fresh());
    server.failBefore = new ApiError(code, 'Invalid', 'spec.binding is wrong');
    expect(await bind(server, match(fresh()))).toEqual({ is: 'refused', message: 'spec.binding is wrong' });
  });

  test.each([
    ['no answer', unreachable],
    ['a failure of the server', new ApiError(500, 'InternalError', 'etcdserver: request timed out')],
    ['a kind that is not served', new ApiError(404, 'KindNotServed', 'no such kind')],
  ])('with %s is not known to have happened or not', async (_what, error) => {
    const server = new Server(fresh());
    server.failBefore = error;
    expect(await bind(server, match(fresh()))).toEqual({ is: 'unknown', error });
  });

  test('that the API server stores without its binding is refused: its CRD is another', async () => {
    const server = new Server(fresh());
    const pruning = {
      get: () => server.get(),
      patch: async (ref: unknown, version: string, { metadata }: { metadata?: object }) =>
        await server.patch(ref, version, { metadata }),
    };
    expect(await bind(pruning, match(fresh()))).toMatchObject({
      is: 'refused',
      message: expect.stringContaining('CRD'),
    });
  });
});

test('a Runner of the same name and another UID is not the one', async () => {
  const other = stored(runner({ metadata: { name: 'r', uid: 'uid-other' } }));
  expect(await inspect(new Server(other), match(fresh()))).toEqual({ is: 'changed', runner: undefined });
});

test('what cannot be read stays unknown', async () => {
  const server = new Server(fresh());
  server.failRead = unreachable;
  expect(await inspect(server, match(fresh()))).toEqual({ is: 'unknown', error: unreachable });
});
