import type { Mutant } from '../mutant.ts';

/** It was killed halfway, and does not take up what it left. */
export const INTERMEDIATE: readonly Mutant[] = [
  {
    name: 'half-made-bundle-left',
    class: 'intermediate',
    bug: 'A bundle that a killed daemon has half made is neither purged nor finished.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return facts.vm === 'present' ? [{ do: 'recordStart' }] : destroy(facts);",
        replace: "return facts.vm === 'present' ? [{ do: 'recordStart' }] : [];",
      },
    ],
  },
  {
    name: 'unrecorded-vm-destroyed',
    class: 'intermediate',
    bug: 'A VM whose start a killed daemon did not record any more is destroyed although it is wanted.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return facts.vm === 'present' ? [{ do: 'recordStart' }] : destroy(facts);",
        replace: 'return destroy(facts);',
      },
    ],
  },
  {
    name: 'leftovers-ignored',
    class: 'intermediate',
    line: 4,
    bug: 'Bundles that are on disk when a daemon starts are not looked into.',
    edits: [
      {
        file: 'node-daemon/runner/controller.ts',
        find: `      this.#leftovers.add(uid);
      this.#queue.add(uid);`,
        replace: '      void uid;',
      },
    ],
  },
  {
    name: 'finalizer-before-the-purge',
    class: 'intermediate',
    line: 11,
    bug: 'The finalizer is removed before VM and disks are.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'return { actions: remains(facts) ? destroy(facts) : letGo(facts) };',
        replace: 'return { actions: [...letGo({ ...facts, bundle: undefined }), ...destroy(facts)] };',
      },
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'return { actions: destroy(facts), status, requeueAfterMs: dueInMs };',
        replace:
          'return { actions: [...letGo({ ...facts, bundle: undefined }), ...destroy(facts)], status, requeueAfterMs: dueInMs };',
      },
    ],
  },
  {
    name: 'outcome-after-the-purge',
    class: 'intermediate',
    bug: 'A VM is destroyed before it was recorded on disk why.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "if (facts.bundle !== undefined) return { actions: [{ do: 'recordOutcome', outcome }] };",
        replace: '',
      },
    ],
  },
  {
    name: 'guest-not-heard-after-restart',
    class: 'intermediate',
    bug: "After a restart the guest's reports are not expected, so that the end of its job is missed.",
    edits: [
      {
        file: 'node-daemon/runner/observe.ts',
        find: 'await session.welcomeReports(current.metadata);',
        replace: '',
      },
    ],
  },
  {
    name: 'script-not-observed-after-restart',
    class: 'intermediate',
    bug: 'After a restart nobody looks what became of the setup script.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return mayStartScript(facts, bundle) ? startScript(facts) : [{ do: 'observeScript' }];",
        replace: 'return mayStartScript(facts, bundle) ? startScript(facts) : [];',
      },
    ],
  },
  {
    name: 'tombstone-left',
    class: 'intermediate',
    bug: 'The tombstone stays when the finalizer was removed.',
    edits: [
      {
        file: 'node-daemon/runner/decide.ts',
        find: "return facts.bundle === undefined ? letGo : [...letGo, { do: 'dropTombstone' }];",
        replace: 'return letGo;',
      },
    ],
  },
  {
    name: 'bundle-of-any-attempt',
    class: 'intermediate',
    line: 1,
    bug: "A bundle's name and identity do not tell one attempt from another.",
    edits: [
      {
        file: 'node-daemon/runner/observe.ts',
        find: 'const session = sessions.of(ports.bundles.paths(uid, attempt));',
        replace: 'const session = sessions.of(ports.bundles.paths(uid, 1));',
      },
    ],
  },
  {
    name: 'bound-without-finalizer',
    class: 'intermediate',
    line: 2,
    bug: 'The finalizer does not go with the binding: who dies in between leaves a VM that nothing holds.',
    edits: [
      {
        file: 'controller/runner/act.ts',
        find: 'metadata: { finalizers: [...finalizers] },',
        replace: '',
      },
    ],
  },
  {
    name: 'script-run-without-a-trace',
    class: 'intermediate',
    line: 7,
    bug: 'A script that was permitted and of which the guest has no trace is run again after a restart.',
    edits: [
      {
        file: 'node-daemon/runner/judge.ts',
        find: "if (script.state === 'absent' && gatePassed && !mayStartScript(facts, bundle)) {",
        replace: "if (script.state === 'absent' && gatePassed && runner.spec.setupScript === undefined) {",
      },
      {
        file: 'node-daemon/runner/decide.ts',
        find: 'return mayStartScript(facts, bundle) ? startScript(facts) : [];',
        replace: 'return startScript(facts);',
      },
    ],
  },
];
