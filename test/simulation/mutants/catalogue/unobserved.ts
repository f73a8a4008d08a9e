import type { Mutant } from '../mutant.ts';

/** It relies on an event that it missed, or takes what it could not see for what is not there. */
export const UNOBSERVED: readonly Mutant[] = [
  {
    name: 'end-of-vm-unheard',
    class: 'unobserved',
    peers: 'a VM stays running in the API after its worker crashed',
    bug: "Nobody listens for the end of a VM's control connection.",
    edits: [
      {
        file: 'node-daemon/runner/vm-connection.ts',
        find: 'void control.closed.then(() => {',
        replace: 'void new Promise<void>(() => {}).then(() => {',
      },
    ],
  },
  {
    name: 'expired-position-kept',
    class: 'unobserved',
    bug: 'A watch whose position has expired (410) is opened there again instead of being listed anew.',
    edits: [
      {
        file: 'kube/reflector.ts',
        find: `    if (isGone(error)) {
      this.#position = undefined;`,
        replace: '    if (isGone(error)) {',
      },
    ],
  },
  {
    name: 'relist-without-deletions',
    class: 'unobserved',
    bug: 'What is missing in a list anew is not told to have been deleted.',
    edits: [
      {
        file: 'kube/store.ts',
        find: 'return [...deletions, ...rest, ...this.#settle()];',
        replace: 'return [...rest, ...this.#settle()];',
      },
    ],
  },
  {
    name: 'changed-hosts-ignored',
    class: 'unobserved',
    bug: 'The controller does not listen for changes of hosts that it knows.',
    edits: [
      {
        file: 'controller/runner/controller.ts',
        find: 'updated: (_, host) => this.#hostChanged(host),',
        replace: 'updated: () => {},',
      },
    ],
  },
  {
    name: 'new-templates-ignored',
    class: 'unobserved',
    bug: 'A Runner that waits for a Template is not told when that appears.',
    edits: [
      {
        file: 'controller/runner/controller.ts',
        find: 'informers.templates.on(this.#waking(templateChanged, isSameSpec)),',
        replace: '',
      },
    ],
  },
  {
    name: 'deleted-runners-hold-slots',
    class: 'unobserved',
    bug: 'The slot of a Runner whose end was seen only as its deletion stays taken.',
    edits: [
      {
        file: 'controller/runner/binder.ts',
        find: 'this.#markDirty(this.#ledger.forget(uid));',
        replace: '',
      },
    ],
  },
  {
    name: 'host-never-heard-again',
    class: 'unobserved',
    bug: 'A host that renews its Lease again stays lost.',
    edits: [
      {
        file: 'controller/host/heartbeats.ts',
        find: 'if (heartbeat.lost) this.#change(hostName, heartbeat, false);',
        replace: '',
      },
    ],
  },
  {
    name: 'lost-answer-taken-for-no',
    class: 'unobserved',
    bug: 'A binding whose answer was lost is taken for one that did not happen.',
    edits: [
      {
        file: 'controller/runner/bind-loop.ts',
        find: `        this.#unsettled.set(uid, match);
        this.#settling.addRateLimited(uid);`,
        replace: `        binder.release(uid);
        this.#unsettled.set(uid, match);
        this.#settling.addRateLimited(uid);`,
      },
    ],
  },
  {
    name: 'unknown-vm-taken-for-absent',
    class: 'unobserved',
    bug: 'A VM that does not answer is taken for one that is not there.',
    edits: [
      {
        file: 'node-daemon/runner/vm-connection.ts',
        find: "if (seen.state !== 'present') return seen.state;",
        replace: "if (seen.state !== 'present') return 'absent';",
      },
    ],
  },
  {
    name: 'no-answer-taken-for-no-renewal',
    class: 'unobserved',
    bug: 'A controller that has no answer of the API server takes that for hosts that do not renew their Leases.',
    edits: [
      {
        file: 'controller/host/heartbeats.ts',
        find: `  apiLost(): void {
    this.#apiSince = undefined;`,
        replace: '  apiLost(): void {',
      },
      {
        file: 'controller/host/controller.ts',
        find: '|| !(await this.#readLease(name)).isLost) return undefined;',
        replace: ') return undefined;',
      },
    ],
  },
  {
    name: 'own-finalizers-not-looked-for',
    class: 'unobserved',
    bug: 'A Runner that came and went while the daemon was away is not looked for among those bound elsewhere.',
    edits: [
      {
        file: 'node-daemon/runner/controller.ts',
        find: 'if (!(isBoundHere && isShown) && this.#isHeld(runner)) this.#hasLeft(runner);',
        replace: 'void [isBoundHere, isShown];',
      },
    ],
  },
];
