import type { Mutant } from '../mutant.ts';

/** Wrong even where nothing is old, killed or missed. */
export const INDIRECT: readonly Mutant[] = [
  {
    name: 'failed-starts-hold-slots',
    class: 'indirect',
    peers: 'slots of failed starts are never released',
    bug: 'The binding of a start that has failed goes on counting as a slot.',
    edits: [
      {
        file: 'controller/runner/ledger.ts',
        find: '!isOver(runner) && !hasFailed(runner)',
        replace: '!isOver(runner)',
      },
    ],
  },
  {
    name: 'runners-that-are-over-hold-slots',
    class: 'indirect',
    peers: 'failed runners go on consuming capacity',
    bug: 'A Runner that is over goes on counting as long as its object is there.',
    edits: [
      {
        file: 'controller/runner/ledger.ts',
        find: '!isOver(runner) && !hasFailed(runner)',
        replace: '!hasFailed(runner)',
      },
    ],
  },
  {
    name: 'exit-of-vm-taken-for-success',
    class: 'indirect',
    peers: 'a process killed for memory is taken for success',
    bug: "That a VM's process has ended, as one that the kernel killed for memory has, is taken for the end of its job.",
    edits: [
      {
        file: 'node-daemon/runner/judge.ts',
        find: `return over('Error', 'VmExited', "the VM's process has ended by itself");`,
        replace: `return over('Finished', 'JobFinished', "the VM's process has ended by itself");`,
      },
    ],
  },
  {
    name: 'finalizer-never-removed',
    class: 'indirect',
    peers: 'finalizers block deletion for ever',
    bug: 'What is purged is not let go of.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return facts.bundle === undefined ? letGo : [...letGo, { do: 'dropTombstone' }];",
        replace: "return facts.bundle === undefined ? [] : [{ do: 'dropTombstone' }];",
      },
    ],
  },
  {
    name: 'reports-to-the-last-guest',
    class: 'indirect',
    peers: 'addresses of two booting guests are swapped',
    bug: 'A report is taken for that of the guest that was expected last.',
    edits: [
      {
        file: 'node-daemon/guest-link/register.ts',
        find: 'const entry = token === undefined ? undefined : this.#find(token);',
        replace: `const known = token === undefined ? undefined : this.#find(token);
    const last = [...this.#byDigest.values()].at(-1);
    const entry = known && last && { ...last, mac: known.mac };`,
      },
    ],
  },
  {
    name: 'queued-bindings-not-counted',
    class: 'indirect',
    peers: 'queued creates are not counted',
    bug: 'A slot counts as taken only when the binding is seen.',
    edits: [
      {
        file: 'controller/runner/binder.ts',
        find: 'this.#ledger.assume(uid, {',
        replace: 'void ({',
      },
    ],
  },
  {
    name: 'timeout-leaves-the-vm',
    class: 'indirect',
    peers: 'a timeout orphans the VM',
    bug: 'A start that took too long is told to have failed, and its VM is left.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'function tearDown(facts: RunnerFacts, runner: Stored<Runner>, isOver: boolean): Decision {\n  if (remains(facts)) {',
        replace:
          "function tearDown(facts: RunnerFacts, runner: Stored<Runner>, isOver: boolean): Decision {\n  if (remains(facts) && facts.bundle?.outcome?.reason !== 'BootTimeout') {",
      },
    ],
  },
  {
    name: 'bound-anew-before-the-purge',
    class: 'indirect',
    line: 10,
    bug: 'A start is told to have failed before what it left was purged.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'function tearDown(facts: RunnerFacts, runner: Stored<Runner>, isOver: boolean): Decision {\n  if (remains(facts)) {',
        replace:
          "function tearDown(facts: RunnerFacts, runner: Stored<Runner>, isOver: boolean): Decision {\n  if (remains(facts) && (isOver || facts.bundle?.outcome?.phase !== 'Error')) {",
      },
    ],
  },
  {
    name: 'script-before-the-gate',
    class: 'indirect',
    line: 6,
    bug: 'The script is started when SSH answers, whether or not the API server has permitted it.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'if (runner.status?.scriptAttempt !== bundle.attempt) return [];',
        replace: '',
      },
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return mayStartScript(facts, bundle) ? startScript(facts) : [{ do: 'observeScript' }];",
        replace: 'return startScript(facts);',
      },
    ],
  },
  {
    name: 'destroys-without-a-lease',
    class: 'indirect',
    line: 13,
    bug: 'VMs are destroyed while the Lease is not fresh.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "if (!facts.leaseFresh || facts.session.purge.state === 'running') return [];",
        replace: "if (facts.session.purge.state === 'running') return [];",
      },
      {
        file: 'node-daemon/runner/session.ts',
        find: 'while (!host.leaseFresh()) {',
        replace: "while (host.name === '') {",
      },
    ],
  },
  {
    name: 'live-host-declared-dead',
    class: 'indirect',
    line: 12,
    bug: 'A deleted host is let go of although it renews its Lease and its VMs run.',
    edits: [
      {
        file: 'controller/runner/observe.ts',
        find: "if (sources.heartbeat(hostName) !== 'lost' || !(await isDeleted(sources, hostName))) continue;",
        replace: 'if (!(await isDeleted(sources, hostName))) continue;',
      },
      {
        file: 'controller/runner/observe.ts',
        find: "if (sources.heartbeat(hostName) === 'lost') dead.push(finalizer);",
        replace: 'dead.push(finalizer);',
      },
    ],
  },
  {
    name: 'vms-of-a-deleted-host-run-on',
    class: 'indirect',
    peers: 'a runner stays Running after a drain',
    bug: 'That its host is being deleted does not end a Runner.',
    edits: [
      {
        file: 'node-daemon/runner/judge.ts',
        find: "if (facts.host.state !== 'live') {",
        replace: "if (facts.host.name === '') {",
      },
    ],
  },
  {
    name: 'clone-blocks-the-heartbeat',
    class: 'indirect',
    peers: 'an image pull blocks the heartbeat',
    bug: 'While a disk is cloned the daemon does nothing else, the renewal of its Lease included.',
    edits: [
      {
        file: 'node-daemon/runner/launch.ts',
        find: 'runtime.prepare(paths, spec, signal),',
        replace: 'Object.assign(ports.clock, { busy: runtime.prepare(paths, spec, signal) }).busy,',
      },
      {
        file: 'kube/lease.ts',
        find: 'const known = this.#held;',
        replace: `await (this.#clock as Clock & { busy?: Promise<unknown> }).busy?.catch(() => undefined);
      const known = this.#held;`,
      },
    ],
  },
];
