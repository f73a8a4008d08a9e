import type { Stage } from './stage.ts';

/** One Runner's start; all in milliseconds. */
export type StartFigures = {
  /** POST sent → watch event with the binding. */
  readonly bind: number;
  /** Watch event with the binding → VM process spawned. */
  readonly spawn: number;
  /** VM process spawned → sshd listening: the guest's own time. */
  readonly boot: number;
  /** sshd listening → watch event with SSHReady. */
  readonly sshReady: number;
  /** Median of handshakes with the VM once it is ready. */
  readonly handshake: number;
  /** `sshReady` without one handshake. */
  readonly sshReadyBeyondHandshake: number;
  /** POST sent → watch event with SSHReady. */
  readonly total: number;
};

export function startFigures(
  { moments }: Stage,
  uid: string,
  postedAt: number,
  handshake: number,
): StartFigures {
  const bound = moments.at(`${uid} bound`);
  const spawned = moments.at(`${uid} spawned`);
  const listening = moments.at(`${uid} sshd listening`);
  const sshReady = moments.at(`${uid} sshReady`);
  return {
    bind: bound - postedAt,
    spawn: spawned - bound,
    boot: listening - spawned,
    sshReady: sshReady - listening,
    handshake,
    sshReadyBeyondHandshake: sshReady - listening - handshake,
    total: sshReady - postedAt,
  };
}

/** Where the milliseconds of a start go, while nothing else is under way. Consecutive within each group. */
export function startParts(
  { moments, calls }: Stage,
  name: string,
  uid: string,
  postedAt: number,
): Record<string, number> {
  const bound = moments.at(`${uid} bound`);
  const spawned = moments.at(`${uid} spawned`);
  const listening = moments.at(`${uid} sshd listening`);
  const sshReady = moments.at(`${uid} sshReady`);
  const overlay = moments.get(`${uid} overlay begun`);
  const binding = calls.first({ who: 'controller', verb: 'patch', name }, postedAt);
  const template = calls.first({ who: 'node-daemon', verb: 'get', kind: 'Template' }, postedAt);
  const read = { who: 'node-daemon', verb: 'get', kind: 'Runner', name } as const;
  const before = calls.first(read, postedAt);
  const again = calls.last(read, spawned);
  const ready = calls.first({ who: 'node-daemon', verb: 'patchStatus', name }, listening);
  return {
    'bind: POST sent → PATCH of the binding sent': binding.sentAt - postedAt,
    'bind: PATCH of the binding': binding.answeredAt - binding.sentAt,
    'bind: its answer → watch event': bound - binding.answeredAt,
    'spawn: watch event → quorum read before anything is made': before.sentAt - bound,
    'spawn: that quorum read': before.answeredAt - before.sentAt,
    'spawn: its answer → Template asked for': template.sentAt - before.answeredAt,
    'spawn: GET of the Template': template.answeredAt - template.sentAt,
    'spawn: bundle, clone, keys, seed disk': again.sentAt - template.answeredAt,
    'spawn: of that qemu-img': overlay === undefined ? 0 : moments.at(`${uid} overlay made`) - overlay,
    'spawn: quorum read before the process': again.answeredAt - again.sentAt,
    'spawn: its answer → process': spawned - again.answeredAt,
    'sshReady: sshd listening → status sent': ready.sentAt - listening,
    'sshReady: PATCH of the status': ready.answeredAt - ready.sentAt,
    'sshReady: its answer → watch event': sshReady - ready.answeredAt,
  };
}

/** One slot's turn from a deleted Runner to the next; all in milliseconds. */
export type TurnFigures = {
  /** DELETE sent → watch event with the next Runner's binding. */
  readonly turn: number;
  /** SIGKILL sent → process gone. */
  readonly vmEnd: number;
  readonly turnBeyondVmEnd: number;
};

export function turnFigures(
  { moments }: Stage,
  uid: string,
  deletedAt: number,
  nextBoundAt: number,
): TurnFigures {
  const turn = nextBoundAt - deletedAt;
  const vmEnd = moments.at(`${uid} ended`) - moments.at(`${uid} killed`);
  return { turn, vmEnd, turnBeyondVmEnd: turn - vmEnd };
}

export function turnParts(
  { moments, calls }: Stage,
  gone: { name: string; uid: string },
  next: { name: string; uid: string },
  deletion: { sentAt: number; answeredAt: number },
): Record<string, number> {
  const killed = moments.at(`${gone.uid} killed`);
  const ended = moments.at(`${gone.uid} ended`);
  const release = calls.first({ who: 'node-daemon', verb: 'patch', name: gone.name }, deletion.sentAt);
  const binding = calls.first({ who: 'controller', verb: 'patch', name: next.name }, deletion.sentAt);
  return {
    'turn: DELETE': deletion.answeredAt - deletion.sentAt,
    'turn: its answer → SIGKILL': killed - deletion.answeredAt,
    'turn: SIGKILL → process gone': ended - killed,
    'turn: process gone → PATCH of the finalizers sent': release.sentAt - ended,
    'turn: PATCH of the finalizers': release.answeredAt - release.sentAt,
    'turn: its answer → PATCH of the binding sent': binding.sentAt - release.answeredAt,
    'turn: PATCH of the binding': binding.answeredAt - binding.sentAt,
    'turn: its answer → watch event': moments.at(`${next.uid} bound`) - binding.answeredAt,
  };
}
