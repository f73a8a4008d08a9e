import type { Mutant } from '../mutant.ts';

/** It acts on what was true some time ago. */
export const STALE: readonly Mutant[] = [
  {
    name: 'finalizers-of-the-cache',
    class: 'stale',
    bug: 'Removing a finalizer writes back the list of the cache over whatever was added since.',
    edits: [
      {
        file: 'node-daemon/runner/api.ts',
        find: 'return await runners.patch({ namespace, name }, resourceVersion, { metadata: { finalizers } });',
        replace: `const newest = await runners.get({ namespace, name });
        if (newest === undefined) return undefined;
        return await runners.patch({ namespace, name }, newest.metadata.resourceVersion, {
          metadata: { finalizers },
        });`,
      },
    ],
  },
  {
    name: 'lists-of-the-watch-cache',
    class: 'stale',
    line: 3,
    bug: 'A new controller or daemon lists what a cache of the API server holds, which may be older than what was written.',
    edits: [
      {
        file: 'kube/reflector.ts',
        find: 'this.#streaming = options.streamingLists;',
        replace: 'this.#streaming = false;',
      },
      {
        file: 'kube/reflector.ts',
        find: 'const list = await listAllPages(this.#options.collection, { namespace, labelSelector, fieldSelector });',
        replace:
          "const list = await this.#options.collection.listPage({ namespace, labelSelector, fieldSelector, resourceVersion: '0' });",
      },
    ],
  },
  {
    name: 'runner-gone-by-the-cache',
    class: 'stale',
    bug: 'A Runner that the cache does not show is taken for gone, without a quorum read.',
    edits: [
      {
        file: 'node-daemon/runner/observe.ts',
        find: 'return await ask(ports, uid, cached?.metadata ?? ref ?? refOf(seen));',
        replace: "return { is: 'absent' };",
      },
    ],
  },
  {
    name: 'launch-on-a-stale-runner',
    class: 'stale',
    line: 5,
    bug: 'A VM is started by what the cache says of the binding, without a quorum read.',
    edits: [
      {
        file: 'node-daemon/runner/act.ts',
        find: 'if (current?.metadata.resourceVersion !== resourceVersion) throw new StaleRunnerError(runner);',
        replace: 'if (current === undefined) throw new StaleRunnerError(runner);',
      },
      {
        file: 'node-daemon/runner/launch.ts',
        find: "const current = await ports.api.get({ namespace, name }).catch(() => 'unreadable' as const);",
        replace: "const current = name === '' && namespace === '' ? ('unreadable' as const) : runner;",
      },
    ],
  },
  {
    name: 'heartbeat-by-the-watch-alone',
    class: 'stale',
    line: 8,
    bug: 'A host counts as lost when the watch shows no renewal, whether or not the controller had the API.',
    edits: [
      {
        file: 'controller/host/heartbeats.ts',
        find: 'return this.#apiSince === undefined ? 0 : this.#now() - Math.max(heardAt, this.#apiSince);',
        replace: 'return this.#now() - heardAt;',
      },
      {
        file: 'controller/host/heartbeats.ts',
        find: 'this.observe(hostName, await this.#options.read(hostName));',
        replace: '',
      },
      {
        file: 'controller/host/controller.ts',
        find: '|| !(await this.#readLease(name)).isLost) return undefined;',
        replace: ') return undefined;',
      },
    ],
  },
  {
    name: 'gate-over-a-newer-binding',
    class: 'stale',
    bug: 'The gate is passed by a write that is not fenced: it succeeds although the Runner was bound elsewhere.',
    edits: [
      {
        file: 'node-daemon/runner/api.ts',
        find: '(await writeStatus<Runner>(runners, runner, status)).object,',
        replace: `{
      const newest = await runners.get(runner.metadata);
      const { resourceVersion = '' } = newest?.metadata ?? {};
      const metadata = { ...runner.metadata, resourceVersion };
      return (await writeStatus<Runner>(runners, { ...runner, metadata }, status)).object;
    },`,
      },
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'if (runner.status?.scriptAttempt !== bundle.attempt) return [];',
        replace:
          'if (!facts.session.gatePassedHere && runner.status?.scriptAttempt !== bundle.attempt) return [];',
      },
    ],
  },
  {
    name: 'bound-over-a-newer-state',
    class: 'stale',
    bug: 'A binding is written over whatever the Runner has become since it was decided.',
    edits: [
      {
        file: 'controller/runner/act.ts',
        find: 'const runner = await runners.patch(metadata, metadata.resourceVersion, bindingPatch(match));',
        replace: `const newest = await runners.get(metadata);
    const { resourceVersion } = newest?.metadata ?? metadata;
    const runner = await runners.patch(metadata, resourceVersion, bindingPatch(match));`,
      },
    ],
  },
  {
    name: 'bound-anew-behind-the-gate',
    class: 'stale',
    line: 9,
    bug: 'A Runner whose host is lost is bound anew although its script was permitted to run.',
    edits: [
      {
        file: 'controller/runner/binder.ts',
        find: 'if (hasPassedGate(runner)) return false;',
        replace: 'void hasPassedGate;',
      },
    ],
  },
];
